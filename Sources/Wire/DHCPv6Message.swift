// A DHCPv6 message to write: what a server answers with, and what a test's client asks with.
//
// The identifiers are spans because the client's comes from its message and goes back as it is.

package struct DHCPv6Message: Equatable, Sendable {
    /// One of `DHCPv6MessageType`.
    package var type: UInt8
    /// 24 bits.
    package var transactionID: UInt32
    package var identityAssociations: [DHCPv6IdentityAssociation] = []
    package var rapidCommit = false
    /// Option 7.
    package var preference: UInt8?
    /// Option 13 of the message itself.
    package var statusCode: UInt16?
    /// Option 23.
    package var dnsServers: [IPAddress] = []
    /// Option 24: names in wire form, one after the other.
    package var domainList: [UInt8] = []
    /// Option 56: unicast addresses (RFC 5908 section 4.1).
    package var ntpServers: [IPAddress] = []
    /// Option 59 (RFC 5970 section 3.1): ASCII.
    package var bootFileURL = ""
    /// Option 6, of a client.
    package var optionRequest: [UInt16] = []

    package init(type: UInt8, transactionID: UInt32) {
        self.type = type
        self.transactionID = transactionID
    }

    /// The DUID based on a link-layer address (RFC 8415 section 11.4): 10 bytes.
    package static func identifier(of address: MACAddress) -> [UInt8] {
        [0, 3, 0, 1] + (0..<6).map { UInt8(truncatingIfNeeded: address.rawValue >> UInt64(40 - 8 * $0)) }
    }

    /// Writes the message. Traps when it does not fit: 512 bytes are enough for a few servers and names.
    /// - Parameters:
    ///   - clientIdentifier: not written if empty.
    ///   - serverIdentifier: not written if empty.
    /// - Returns: the bytes written.
    @discardableResult
    package func write(
        to span: inout MutableRawSpan, at offset: Int, clientIdentifier: RawSpan, serverIdentifier: RawSpan
    ) -> Int {
        span.store(u32: UInt32(type) << 24 | transactionID & 0xff_ffff, at: offset)
        var next = offset + DHCPv6.fixedLength
        if !clientIdentifier.isEmpty {
            next += Self.put(DHCPv6Option.clientIdentifier, clientIdentifier, to: &span, at: next)
        }
        if !serverIdentifier.isEmpty {
            next += Self.put(DHCPv6Option.serverIdentifier, serverIdentifier, to: &span, at: next)
        }
        for association in identityAssociations { next += association.write(to: &span, at: next) }
        if rapidCommit { next += Self.putHead(DHCPv6Option.rapidCommit, length: 0, to: &span, at: next) }
        if let preference {
            next += Self.putHead(DHCPv6Option.preference, length: 1, to: &span, at: next)
            span.store(u8: preference, at: next)
            next += 1
        }
        if let statusCode { next += Self.put(status: statusCode, to: &span, at: next) }
        if !optionRequest.isEmpty {
            next += Self.putHead(DHCPv6Option.optionRequest, length: 2 * optionRequest.count, to: &span, at: next)
            for code in optionRequest {
                span.store(u16: code, at: next)
                next += 2
            }
        }
        if !dnsServers.isEmpty {
            next += Self.putHead(DHCPv6Option.dnsServers, length: 16 * dnsServers.count, to: &span, at: next)
            for server in dnsServers {
                span.store(u64: server.hi, at: next)
                span.store(u64: server.lo, at: next + 8)
                next += 16
            }
        }
        if !domainList.isEmpty { next += Self.put(DHCPv6Option.domainList, domainList.rawSpan, to: &span, at: next) }
        for server in ntpServers {
            // A suboption 1 in an option of its own for each (RFC 5908 section 4).
            next += Self.putHead(DHCPv6Option.ntpServer, length: 20, to: &span, at: next)
            next += Self.putHead(1, length: 16, to: &span, at: next)
            span.store(u64: server.hi, at: next)
            span.store(u64: server.lo, at: next + 8)
            next += 16
        }
        if !bootFileURL.isEmpty {
            next += Self.put(
                DHCPv6Option.bootFileURL, Array(bootFileURL.utf8.prefix(255)).rawSpan, to: &span, at: next)
        }
        return next - offset
    }

    /// Writes an option's code and length: 4 bytes.
    static func putHead(_ code: UInt16, length: Int, to span: inout MutableRawSpan, at offset: Int) -> Int {
        precondition(length <= 0xffff, "option too long for DHCPv6")
        span.store(u16: code, at: offset)
        span.store(u16: UInt16(truncatingIfNeeded: length), at: offset + 2)
        return 4
    }

    static func put(_ code: UInt16, _ value: RawSpan, to span: inout MutableRawSpan, at offset: Int) -> Int {
        let head = putHead(code, length: value.byteCount, to: &span, at: offset)
        span.copy(from: value, at: offset + head)
        return head + value.byteCount
    }

    /// A status code without a message.
    static func put(status: UInt16, to span: inout MutableRawSpan, at offset: Int) -> Int {
        let head = putHead(DHCPv6Option.statusCode, length: 2, to: &span, at: offset)
        span.store(u16: status, at: offset + head)
        return head + 2
    }
}

extension DHCPv6IdentityAssociation {
    /// Writes the IA_NA option with its address and status.
    /// - Returns: the bytes written.
    func write(to span: inout MutableRawSpan, at offset: Int) -> Int {
        let length = 12 + (address == nil ? 0 : 28) + (statusCode == nil ? 0 : 6)
        var next = offset
        next += DHCPv6Message.putHead(DHCPv6Option.identityAssociation, length: length, to: &span, at: next)
        span.store(u32: identifier, at: next)
        span.store(u32: renewalTime, at: next + 4)
        span.store(u32: rebindingTime, at: next + 8)
        next += 12
        if let address {
            next += DHCPv6Message.putHead(
                DHCPv6Option.identityAssociationAddress, length: 24, to: &span, at: next)
            span.store(u64: address.hi, at: next)
            span.store(u64: address.lo, at: next + 8)
            span.store(u32: preferredLifetime, at: next + 16)
            span.store(u32: validLifetime, at: next + 20)
            next += 24
        }
        if let statusCode { next += DHCPv6Message.put(status: statusCode, to: &span, at: next) }
        return next - offset
    }
}
