// DHCP for IPv6 (RFC 8415; DNS options RFC 3646), between client and server. Relay messages are not for us.
//
//      0        1                 4
//     +--------+-----------------+----------------------------------------------
//     | type   | transaction     | options: code (2), length (2), value ...
//     +--------+-----------------+----------------------------------------------
//
//     1 client, 2 server identifier (DUID) | 3 IA_NA: IAID, T1, T2, options | 5 IA address: address, preferred, valid
//     6 option request | 7 preference | 13 status code | 14 rapid commit | 23 DNS servers | 24 domain list
//
// The view checks that the options can be walked to the end (a malformed message is discarded whole, RFC 8415 section
// 16) and then searches when asked.

/// Message types (RFC 8415 section 7.3).
package enum DHCPv6MessageType {
    @inlinable package static var solicit: UInt8 { 1 }
    @inlinable package static var advertise: UInt8 { 2 }
    @inlinable package static var request: UInt8 { 3 }
    @inlinable package static var confirm: UInt8 { 4 }
    @inlinable package static var renew: UInt8 { 5 }
    @inlinable package static var rebind: UInt8 { 6 }
    @inlinable package static var reply: UInt8 { 7 }
    @inlinable package static var release: UInt8 { 8 }
    @inlinable package static var decline: UInt8 { 9 }
    @inlinable package static var reconfigure: UInt8 { 10 }
    @inlinable package static var informationRequest: UInt8 { 11 }
}

/// Option codes (RFC 8415 section 21, RFC 3646).
package enum DHCPv6Option {
    @inlinable package static var clientIdentifier: UInt16 { 1 }
    @inlinable package static var serverIdentifier: UInt16 { 2 }
    @inlinable package static var identityAssociation: UInt16 { 3 }
    @inlinable package static var identityAssociationAddress: UInt16 { 5 }
    @inlinable package static var optionRequest: UInt16 { 6 }
    @inlinable package static var preference: UInt16 { 7 }
    @inlinable package static var statusCode: UInt16 { 13 }
    @inlinable package static var rapidCommit: UInt16 { 14 }
    @inlinable package static var userClass: UInt16 { 15 }
    @inlinable package static var dnsServers: UInt16 { 23 }
    @inlinable package static var domainList: UInt16 { 24 }
    @inlinable package static var clientFQDN: UInt16 { 39 }
    @inlinable package static var ntpServer: UInt16 { 56 }
    @inlinable package static var bootFileURL: UInt16 { 59 }
    @inlinable package static var clientArchitecture: UInt16 { 61 }
}

/// Status codes (RFC 8415 section 21.13).
package enum DHCPv6Status {
    @inlinable package static var success: UInt16 { 0 }
    @inlinable package static var unspecifiedFailure: UInt16 { 1 }
    @inlinable package static var noAddressesAvailable: UInt16 { 2 }
    @inlinable package static var noBinding: UInt16 { 3 }
    @inlinable package static var notOnLink: UInt16 { 4 }
    @inlinable package static var useMulticast: UInt16 { 5 }
}

/// Ports and addresses.
package enum DHCPv6 {
    @inlinable package static var clientPort: UInt16 { 546 }
    @inlinable package static var serverPort: UInt16 { 547 }
    /// `ff02::1:2`, all relay agents and servers.
    @inlinable package static var allServers: IPAddress { IPAddress(hi: 0xff02_0000_0000_0000, lo: 0x0001_0002) }
    @inlinable package static var fixedLength: Int { 4 }
}

/// A message between client and server.
package struct DHCPv6View: ~Escapable {
    package let bytes: RawSpan

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(ParseError) {
        guard bytes.byteCount >= DHCPv6.fixedLength else { throw .truncated }
        // 12 and 13 are relay messages, which have another header.
        guard (1...11).contains(bytes.field8(at: 0)) else { throw .badField }
        var offset = DHCPv6.fixedLength
        while offset < bytes.byteCount {
            guard bytes.byteCount - offset >= 4 else { throw .truncated }
            let end = offset + 4 + Int(bytes.field16(at: offset + 2))
            guard end <= bytes.byteCount else { throw .truncated }
            offset = end
        }
        self.bytes = bytes
    }

    /// One of `DHCPv6MessageType`.
    package var type: UInt8 { bytes.field8(at: 0) }
    /// 24 bits.
    package var transactionID: UInt32 { bytes.field32(at: 0) & 0xff_ffff }

    /// Option 1: the client's DUID, 1...130 bytes if it is valid.
    package var clientIdentifier: RawSpan? {
        @_lifetime(copy self) get { option(DHCPv6Option.clientIdentifier) }
    }

    /// Option 2: the server's DUID.
    package var serverIdentifier: RawSpan? {
        @_lifetime(copy self) get { option(DHCPv6Option.serverIdentifier) }
    }

    /// Option 14.
    package var hasRapidCommit: Bool { option(DHCPv6Option.rapidCommit) != nil }

    /// Option 7: 0 if there is none.
    package var preference: UInt8 {
        guard let value = option(DHCPv6Option.preference), value.byteCount == 1 else { return 0 }
        return value.field8(at: 0)
    }

    /// Option 13 of the message itself.
    package var statusCode: UInt16? {
        guard let value = option(DHCPv6Option.statusCode), value.byteCount >= 2 else { return nil }
        return value.field16(at: 0)
    }

    /// True if option 6 names the code, or is not there.
    package func wants(_ code: UInt16) -> Bool { option(DHCPv6Option.optionRequest) == nil || requests(code) }

    /// The first number of option 61 (RFC 5970 section 3.3).
    package var clientArchitecture: UInt16? {
        guard let value = option(DHCPv6Option.clientArchitecture), value.byteCount >= 2 else { return nil }
        return value.field16(at: 0)
    }

    /// It says that it is iPXE: the first user class of option 15 (RFC 8415 section 21.15).
    package var isIPXE: Bool { option(DHCPv6Option.userClass)?.hasPrefix("\0\u{4}iPXE") ?? false }

    /// True if option 6 names the code.
    package func requests(_ code: UInt16) -> Bool {
        guard let list = option(DHCPv6Option.optionRequest) else { return false }
        for index in 0..<list.byteCount / 2 where list.field16(at: 2 * index) == code { return true }
        return false
    }

    /// All IA_NA options that are long enough, at most `limit`.
    package func identityAssociations(limit: Int = 8) -> [DHCPv6IdentityAssociation] {
        var list: [DHCPv6IdentityAssociation] = []
        var offset = DHCPv6.fixedLength
        while offset < bytes.byteCount, list.count < limit {
            let end = offset + 4 + Int(bytes.field16(at: offset + 2))
            if bytes.field16(at: offset) == DHCPv6Option.identityAssociation,
                let association = DHCPv6IdentityAssociation(parsing: bytes.part(from: offset + 4, to: end))
            {
                list.append(association)
            }
            offset = end
        }
        return list
    }

    /// The addresses of option 23.
    package var dnsServers: [IPAddress] {
        guard let value = option(DHCPv6Option.dnsServers) else { return [] }
        return (0..<value.byteCount / 16).map {
            IPAddress(hi: value.field64(at: 16 * $0), lo: value.field64(at: 16 * $0 + 8))
        }
    }

    /// The value of the first option with this code.
    @_lifetime(copy self)
    package func option(_ code: UInt16) -> RawSpan? {
        Self.find(code, in: bytes.part(from: DHCPv6.fixedLength, to: bytes.byteCount))
    }

    /// The value of the first option with this code among `options`; nil too if they cannot be walked to it.
    @_lifetime(copy options)
    static func find(_ code: UInt16, in options: RawSpan) -> RawSpan? {
        var offset = 0
        while options.byteCount - offset >= 4 {
            let end = offset + 4 + Int(options.field16(at: offset + 2))
            guard end <= options.byteCount else { return nil }
            if options.field16(at: offset) == code { return options.part(from: offset + 4, to: end) }
            offset = end
        }
        return nil
    }
}

/// An identity association for non-temporary addresses (RFC 8415 section 21.4), with at most one address.
package struct DHCPv6IdentityAssociation: Equatable, Sendable {
    /// Chosen by the client, to be repeated.
    package var identifier: UInt32
    /// T1 and T2, in seconds; 0 leaves them to the client.
    package var renewalTime: UInt32 = 0
    package var rebindingTime: UInt32 = 0
    /// The first IA address option.
    package var address: IPAddress?
    /// Of the address, in seconds.
    package var preferredLifetime: UInt32 = 0
    package var validLifetime: UInt32 = 0
    /// The status of the association; nil, as `success`, is not written.
    package var statusCode: UInt16?

    package init(identifier: UInt32) { self.identifier = identifier }

    /// Reads the value of an IA_NA option; nil if it is too short.
    init?(parsing value: RawSpan) {
        guard value.byteCount >= 12 else { return nil }
        identifier = value.field32(at: 0)
        renewalTime = value.field32(at: 4)
        rebindingTime = value.field32(at: 8)
        let options = value.part(from: 12, to: value.byteCount)
        if let option = DHCPv6View.find(DHCPv6Option.identityAssociationAddress, in: options), option.byteCount >= 24 {
            address = IPAddress(hi: option.field64(at: 0), lo: option.field64(at: 8))
            preferredLifetime = option.field32(at: 16)
            validLifetime = option.field32(at: 20)
        }
        if let status = DHCPv6View.find(DHCPv6Option.statusCode, in: options), status.byteCount >= 2 {
            statusCode = status.field16(at: 0)
        }
    }
}
