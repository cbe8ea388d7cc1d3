/// A YAML document as far as settings need it: text, lists and mappings, each with the line it starts on.
package struct YAMLNode: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        /// Text as written, whatever type YAML's core schema gives it; quoted text is always text.
        case scalar(String, isQuoted: Bool)
        case sequence([YAMLNode])
        case mapping([Pair])
    }

    package struct Pair: Equatable, Sendable {
        package let key: String
        /// The key's line.
        package let line: Int
        package let value: YAMLNode
    }

    package let content: Content
    /// From 1.
    package let line: Int
}

/// Why a document cannot be read, and where: from line 1.
package struct YAMLError: Error, Equatable, CustomStringConvertible {
    package let line: Int
    package let problem: String
    package var description: String { "line \(line): \(problem)" }
}
