// Transmission Control Protocol segments (RFC 9293 section 3.1).
//
//      0      4      8                16                              32
//     +-------------------------------+------------------------------+
//     |          source port          |       destination port       |  0
//     +-------------------------------+------------------------------+
//     |                       sequence number                        |  4
//     |                    acknowledgment number                     |  8
//     +------+------+-----------------+------------------------------+
//     | words|      | C E U A P R S F |            window            | 12
//     +------+------+-----------------+------------------------------+
//     |           checksum            |        urgent pointer        | 16
//     +-------------------------------+------------------------------+
//     | options, up to 40 bytes                                      | 20
//     +--------------------------------------------------------------+
//
// A segment of a super-frame is a header with up to 64 KiB of payload and is read like any other. The window is as on
// the wire, unscaled. Options are in TCPOptions.swift.

/// The control bits (RFC 9293 section 3.1, ECN bits RFC 3168), as they stand in byte 13.
package struct TCPFlags: OptionSet, Hashable, Sendable, BitwiseCopyable {
    package var rawValue: UInt8

    @inlinable
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    @inlinable package static var fin: TCPFlags { TCPFlags(rawValue: 0x01) }
    @inlinable package static var syn: TCPFlags { TCPFlags(rawValue: 0x02) }
    @inlinable package static var rst: TCPFlags { TCPFlags(rawValue: 0x04) }
    @inlinable package static var psh: TCPFlags { TCPFlags(rawValue: 0x08) }
    @inlinable package static var ack: TCPFlags { TCPFlags(rawValue: 0x10) }
    @inlinable package static var urg: TCPFlags { TCPFlags(rawValue: 0x20) }
    @inlinable package static var ece: TCPFlags { TCPFlags(rawValue: 0x40) }
    @inlinable package static var cwr: TCPFlags { TCPFlags(rawValue: 0x80) }

    // The combinations that are sent. Named, because a literal of a type from another module is an array on the heap (Swift 6.3.1).
    @inlinable package static var finAck: TCPFlags { TCPFlags(rawValue: 0x11) }
    @inlinable package static var synAck: TCPFlags { TCPFlags(rawValue: 0x12) }
    @inlinable package static var rstAck: TCPFlags { TCPFlags(rawValue: 0x14) }
    @inlinable package static var pshAck: TCPFlags { TCPFlags(rawValue: 0x18) }
}

extension TCPFlags: CustomStringConvertible {
    /// `SYN|ACK`; `-` for none.
    package var description: String {
        let names: [(TCPFlags, String)] = [
            (.fin, "FIN"), (.syn, "SYN"), (.rst, "RST"), (.psh, "PSH"), (.ack, "ACK"), (.urg, "URG"), (.ece, "ECE"),
            (.cwr, "CWR"),
        ]
        return isEmpty ? "-" : names.filter { contains($0.0) }.map(\.1).joined(separator: "|")
    }
}

/// A TCP segment with a complete header.
package struct TCPView: ~Escapable {
    package let bytes: RawSpan
    /// With options: 20...60.
    package let headerLength: Int

    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= TCPHeader.length else { throw .truncated }
        let headerLength = Int(bytes.field8(at: 12) >> 4) &* 4
        guard headerLength >= TCPHeader.length else { throw .badLength }
        guard headerLength <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes
        self.headerLength = headerLength
    }

    @inlinable
    package var sourcePort: UInt16 { bytes.field16(at: 0) }

    @inlinable
    package var destinationPort: UInt16 { bytes.field16(at: 2) }

    @inlinable
    package var sequence: SequenceNumber { SequenceNumber(rawValue: bytes.field32(at: 4)) }

    /// Meaningful only with ACK.
    @inlinable
    package var acknowledgment: SequenceNumber { SequenceNumber(rawValue: bytes.field32(at: 8)) }

    @inlinable
    package var flags: TCPFlags { TCPFlags(rawValue: bytes.field8(at: 13)) }

    /// Unscaled.
    @inlinable
    package var window: UInt16 { bytes.field16(at: 14) }

    @inlinable
    package var checksum: UInt16 { bytes.field16(at: 16) }

    @inlinable
    package var urgentPointer: UInt16 { bytes.field16(at: 18) }

    /// The header after its 20 fixed bytes, for `TCPOptions(parsing:)`.
    @inlinable
    package var options: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: TCPHeader.length, to: headerLength) }
    }

    @inlinable
    package var payload: RawSpan {
        @_lifetime(copy self) get { bytes.part(from: headerLength, to: bytes.byteCount) }
    }

    /// True if the checksum over pseudo-header, header and payload is right.
    @inlinable
    package func verifyChecksum(source: IPAddress, destination: IPAddress) -> Bool {
        let pseudo = Checksum.pseudoHeader(
            source: source, destination: destination, protocol: IPProtocol.tcp, length: bytes.byteCount)
        return Checksum.fold(Checksum.sum(bytes, pseudo)) == 0xffff
    }
}

/// A TCP header's fixed part.
package struct TCPHeader: Equatable, Sendable, BitwiseCopyable {
    @inlinable package static var length: Int { 20 }
    /// Where the checksum field is, for `OffloadHeader.checksumOffset`.
    @inlinable package static var checksumOffset: Int { 16 }

    package var sourcePort: UInt16
    package var destinationPort: UInt16
    package var sequence: SequenceNumber
    package var acknowledgment: SequenceNumber
    package var flags: TCPFlags
    package var window: UInt16
    package var checksum: UInt16
    package var urgentPointer: UInt16

    @inlinable
    package init(
        sourcePort: UInt16, destinationPort: UInt16, sequence: SequenceNumber, acknowledgment: SequenceNumber,
        flags: TCPFlags, window: UInt16, checksum: UInt16 = 0, urgentPointer: UInt16 = 0
    ) {
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.sequence = sequence
        self.acknowledgment = acknowledgment
        self.flags = flags
        self.window = window
        self.checksum = checksum
        self.urgentPointer = urgentPointer
    }

    /// Writes 20 bytes; the data offset counts `optionsLength` bytes of options that follow (a multiple of 4, at most
    /// 40), which are the caller's to write. The checksum is stored as it is. Traps when they do not fit.
    /// - Returns: the bytes written, without options.
    @inlinable @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int, optionsLength: Int = 0) -> Int {
        span.checkRoom(Self.length, at: offset)
        precondition(optionsLength & 3 == 0 && optionsLength >= 0 && optionsLength <= 40, "not a length of TCP options")
        span.putField(u32: UInt32(sourcePort) << 16 | UInt32(destinationPort), at: offset)
        span.putField(u32: sequence.rawValue, at: offset &+ 4)
        span.putField(u32: acknowledgment.rawValue, at: offset &+ 8)
        let words = UInt32(truncatingIfNeeded: (Self.length &+ optionsLength) >> 2)
        span.putField(u32: words << 28 | UInt32(flags.rawValue) << 16 | UInt32(window), at: offset &+ 12)
        span.putField(u32: UInt32(checksum) << 16 | UInt32(urgentPointer), at: offset &+ 16)
        return Self.length
    }
}
