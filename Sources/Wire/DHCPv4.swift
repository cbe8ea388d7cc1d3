// Dynamic Host Configuration Protocol (RFC 2131; options RFC 2132, RFC 3397, RFC 3442; long options RFC 3396).
//
//      0     1      2      3      4        8      10      12        16       20        24        28       44       108
//     +-----+------+------+------+--------+------+-------+---------+--------+---------+---------+--------+--------+------+
//     | op  | type | len  | hops |  xid   | secs | flags | ciaddr  | yiaddr | siaddr  | giaddr  | chaddr | sname  | file |
//     +-----+------+------+------+--------+------+-------+---------+--------+---------+---------+--------+--------+------+
//     236: magic cookie 63 82 53 63, then options: code, length, value; 0 is padding, 255 the end.
//
// The view checks the fixed part, the cookie and that the hardware is Ethernet. Options are searched when asked for: a
// message is read once and has few. A malformed option ends the search. "Option overload" (52) continues the search in
// `file` and `sname`. An option that occurs twice is not concatenated (RFC 3396); none that we read is long.
//
// Numbers are read and written for a server; a client's side exists as far as tests need it.

/// Message types (option 53).
package enum DHCPv4MessageType {
    @inlinable package static var discover: UInt8 { 1 }
    @inlinable package static var offer: UInt8 { 2 }
    @inlinable package static var request: UInt8 { 3 }
    @inlinable package static var decline: UInt8 { 4 }
    @inlinable package static var acknowledgment: UInt8 { 5 }
    @inlinable package static var negativeAcknowledgment: UInt8 { 6 }
    @inlinable package static var release: UInt8 { 7 }
    @inlinable package static var inform: UInt8 { 8 }
}

/// Option codes.
package enum DHCPv4Option {
    @inlinable package static var pad: UInt8 { 0 }
    @inlinable package static var subnetMask: UInt8 { 1 }
    @inlinable package static var routers: UInt8 { 3 }
    @inlinable package static var dnsServers: UInt8 { 6 }
    @inlinable package static var hostName: UInt8 { 12 }
    @inlinable package static var domainName: UInt8 { 15 }
    @inlinable package static var interfaceMTU: UInt8 { 26 }
    @inlinable package static var broadcastAddress: UInt8 { 28 }
    @inlinable package static var ntpServers: UInt8 { 42 }
    @inlinable package static var requestedAddress: UInt8 { 50 }
    @inlinable package static var leaseTime: UInt8 { 51 }
    @inlinable package static var overload: UInt8 { 52 }
    @inlinable package static var messageType: UInt8 { 53 }
    @inlinable package static var serverIdentifier: UInt8 { 54 }
    @inlinable package static var parameterRequestList: UInt8 { 55 }
    @inlinable package static var maximumMessageSize: UInt8 { 57 }
    @inlinable package static var renewalTime: UInt8 { 58 }
    @inlinable package static var rebindingTime: UInt8 { 59 }
    @inlinable package static var vendorClass: UInt8 { 60 }
    @inlinable package static var clientIdentifier: UInt8 { 61 }
    @inlinable package static var tftpServerName: UInt8 { 66 }
    @inlinable package static var bootFileName: UInt8 { 67 }
    @inlinable package static var userClass: UInt8 { 77 }
    @inlinable package static var clientFQDN: UInt8 { 81 }
    @inlinable package static var clientArchitecture: UInt8 { 93 }
    @inlinable package static var domainSearch: UInt8 { 119 }
    @inlinable package static var classlessRoutes: UInt8 { 121 }
    /// iPXE's own, with suboptions: its presence says who asks.
    @inlinable package static var etherboot: UInt8 { 175 }
    @inlinable package static var end: UInt8 { 255 }
}

/// Ports and sizes.
package enum DHCPv4 {
    @inlinable package static var serverPort: UInt16 { 67 }
    @inlinable package static var clientPort: UInt16 { 68 }
    /// `op` of a client's message.
    @inlinable package static var bootRequest: UInt8 { 1 }
    /// `op` of a server's message.
    @inlinable package static var bootReply: UInt8 { 2 }
    /// With the cookie: where the options begin.
    @inlinable package static var fixedLength: Int { 240 }
    /// What any BOOTP client can take and some insist on (RFC 1542 section 2.1).
    @inlinable package static var minimumLength: Int { 300 }
    /// The largest message a client takes that does not say more (RFC 2131 section 2: 576 with IP and UDP headers).
    @inlinable package static var defaultMaximumLength: Int { 548 }
    @inlinable package static var magicCookie: UInt32 { 0x6382_5363 }
}

/// A DHCP message for Ethernet.
package struct DHCPv4View: ~Escapable {
    package let bytes: RawSpan

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= DHCPv4.fixedLength else { throw .truncated }
        guard bytes.field32(at: 236) == DHCPv4.magicCookie, bytes.field16(at: 1) == 0x0106 else { throw .badField }
        self.bytes = bytes
    }

    /// `DHCPv4.bootRequest` or `bootReply`.
    package var operation: UInt8 { bytes.field8(at: 0) }
    package var transactionID: UInt32 { bytes.field32(at: 4) }
    /// Since the client began, as it says.
    package var seconds: UInt16 { bytes.field16(at: 8) }
    package var flags: UInt16 { bytes.field16(at: 10) }
    /// The client cannot yet receive unicast.
    package var wantsBroadcast: Bool { flags & 0x8000 != 0 }
    package var clientAddress: IPAddress { IPAddress(v4: bytes.field32(at: 12)) }
    package var yourAddress: IPAddress { IPAddress(v4: bytes.field32(at: 16)) }
    package var serverAddress: IPAddress { IPAddress(v4: bytes.field32(at: 20)) }
    package var relayAddress: IPAddress { IPAddress(v4: bytes.field32(at: 24)) }
    package var clientMAC: MACAddress { MACAddress(rawValue: bytes.field64(at: 28) >> 16) }

    /// Option 53, one of `DHCPv4MessageType`; nil in BOOTP.
    package var messageType: UInt8? {
        guard let value = option(DHCPv4Option.messageType), value.byteCount == 1 else { return nil }
        return value.field8(at: 0)
    }

    /// Option 50.
    package var requestedAddress: IPAddress? { address(DHCPv4Option.requestedAddress) }

    /// Option 54.
    package var serverIdentifier: IPAddress? { address(DHCPv4Option.serverIdentifier) }

    /// Option 55: the codes of options the client wants, in its order of preference.
    package var parameterRequestList: RawSpan? {
        @_lifetime(copy self) get { option(DHCPv4Option.parameterRequestList) }
    }

    /// Option 12, unchecked bytes.
    package var hostName: RawSpan? {
        @_lifetime(copy self) get { option(DHCPv4Option.hostName) }
    }

    /// The first number of option 93 (RFC 4578 section 2.1).
    package var clientArchitecture: UInt16? {
        guard let value = option(DHCPv4Option.clientArchitecture), value.byteCount >= 2 else { return nil }
        return value.field16(at: 0)
    }

    /// It says that it is iPXE: option 77, with the length that RFC 3004 wants or, as iPXE sends it, without; or option 175.
    package var isIPXE: Bool {
        if option(DHCPv4Option.etherboot) != nil { return true }
        guard let userClass = option(DHCPv4Option.userClass) else { return false }
        return userClass.hasPrefix("iPXE") || userClass.hasPrefix("\u{4}iPXE")
    }

    /// A UEFI firmware that fetches by HTTP says so in its vendor class (UEFI specification, section 24.7.3.1).
    package var isHTTPClient: Bool { option(DHCPv4Option.vendorClass)?.hasPrefix("HTTPClient") ?? false }

    /// Option 57: the largest DHCP message, with IP and UDP headers; at least 576 to be valid.
    package var maximumMessageSize: UInt16? {
        guard let value = option(DHCPv4Option.maximumMessageSize), value.byteCount == 2 else { return nil }
        return value.field16(at: 0)
    }

    /// The longest answer the client takes, in bytes of UDP payload.
    package var maximumReplyLength: Int {
        max(DHCPv4.defaultMaximumLength, Int(maximumMessageSize ?? 0) - IPv4Header.length - UDPHeader.byteCount)
    }

    /// True if the client wants the option, or did not say what it wants.
    package func requests(_ code: UInt8) -> Bool {
        guard let list = parameterRequestList else { return true }
        for index in 0..<list.byteCount where list.field8(at: index) == code { return true }
        return false
    }

    private func address(_ code: UInt8) -> IPAddress? {
        guard let value = option(code), value.byteCount == 4 else { return nil }
        return IPAddress(v4: value.field32(at: 0))
    }

    /// The value of the first option with this code, with overloaded fields (RFC 2132 section 9.3) searched last.
    @_lifetime(copy self)
    package func option(_ code: UInt8) -> RawSpan? {
        if let value = Self.find(code, in: bytes.part(from: DHCPv4.fixedLength, to: bytes.byteCount)) { return value }
        guard let overload = Self.find(DHCPv4Option.overload, in: bytes.part(from: 240, to: bytes.byteCount)),
            overload.byteCount == 1
        else { return nil }
        let fields = overload.field8(at: 0)
        if fields & 1 != 0, let value = Self.find(code, in: bytes.part(from: 108, to: 236)) { return value }
        if fields & 2 != 0, let value = Self.find(code, in: bytes.part(from: 44, to: 108)) { return value }
        return nil
    }

    @_lifetime(copy options)
    private static func find(_ code: UInt8, in options: RawSpan) -> RawSpan? {
        var offset = 0
        while offset < options.byteCount {
            let next = options.field8(at: offset)
            if next == DHCPv4Option.end { return nil }
            if next == DHCPv4Option.pad {
                offset += 1
                continue
            }
            guard options.byteCount - offset >= 2 else { return nil }
            let end = offset + 2 + Int(options.field8(at: offset + 1))
            guard end <= options.byteCount else { return nil }
            if next == code { return options.part(from: offset + 2, to: end) }
            offset = end
        }
        return nil
    }
}

extension RawSpan {
    /// Whether it begins with this ASCII text.
    func hasPrefix(_ text: StaticString) -> Bool {
        var offset = 0
        for byte in text.description.utf8 {
            guard offset < byteCount, field8(at: offset) == byte else { return false }
            offset += 1
        }
        return true
    }
}
