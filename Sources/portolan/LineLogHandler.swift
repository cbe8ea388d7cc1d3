import Glibc
import Logging

/// Log lines as a terminal's user wants them: `portolan: warning: text` on stderr, nothing else; of several networks each says its name.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    private let prefix: String

    /// - Parameter network: whose lines these are, where there are several.
    init(level: Logger.Level, network: String? = nil) {
        logLevel = level
        prefix = network.map { "\($0): " } ?? ""
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        writeError("portolan: \(event.level): \(prefix)\(event.message)\n")
    }
}
