/// Why bytes from the wire are not what they claim to be. The core counts these as drop reasons; nobody unwinds further.
package enum ParseError: Error, Equatable, Sendable, BitwiseCopyable {
    /// Fewer bytes than the fixed part of the header.
    case truncated
    /// The version field does not match the protocol (an IPv6 packet under the EtherType of IPv4, say).
    case badVersion
    /// A length field contradicts the header's minimum or the bytes that are there.
    case badLength
    case badChecksum
    /// An option, extension header or record that cannot be walked.
    case badOption
    /// A fixed field does not have the one value that is possible here (hardware type, magic cookie, label type).
    case badField
    /// More nested or chained parts than the stated limit.
    case tooLong
}
