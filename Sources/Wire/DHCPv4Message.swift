// A DHCP message to write: the fixed part, and the options a server (or a test's client) states.
//
// Options are written in the order of their weight: message type, server, times and addresses first, search list last.
// One that would pass the limit is left out, because a client that did not announce more takes 548 bytes only. Values
// above 255 bytes are split (RFC 3396). The message is padded to 300 bytes for old BOOTP clients.

/// A classless static route (RFC 3442).
package struct DHCPv4Route: Equatable, Sendable {
    package var destination: Prefix
    package var router: IPAddress

    package init(destination: Prefix, router: IPAddress) {
        self.destination = destination
        self.router = router
    }
}

package struct DHCPv4Message: Equatable, Sendable {
    package var operation: UInt8
    package var transactionID: UInt32
    package var flags: UInt16 = 0
    package var clientAddress = IPAddress.anyV4
    package var yourAddress = IPAddress.anyV4
    package var serverAddress = IPAddress.anyV4
    package var relayAddress = IPAddress.anyV4
    package var clientMAC: MACAddress
    /// Option 53.
    package var messageType: UInt8

    /// Option 54.
    package var serverIdentifier: IPAddress?
    /// Option 50, of a client.
    package var requestedAddress: IPAddress?
    /// Options 51, 58, 59, in seconds.
    package var leaseTime: UInt32?
    package var renewalTime: UInt32?
    package var rebindingTime: UInt32?
    /// Option 1, in host order.
    package var subnetMask: UInt32?
    /// Option 28.
    package var broadcastAddress: IPAddress?
    /// Option 3.
    package var routers: [IPAddress] = []
    /// Option 121. Clients that know it ignore option 3, so it repeats the default route (RFC 3442).
    package var classlessRoutes: [DHCPv4Route] = []
    /// Option 6.
    package var dnsServers: [IPAddress] = []
    /// Option 26.
    package var interfaceMTU: UInt16?
    /// Options 12 and 15: ASCII.
    package var hostName = ""
    package var domainName = ""
    /// Option 42.
    package var ntpServers: [IPAddress] = []
    /// Option 55, of a client.
    package var parameterRequestList: [UInt8] = []
    /// Option 119: names in wire form, one after the other (RFC 3397).
    package var domainSearch: [UInt8] = []
    /// Options 60, 66 and 67: ASCII.
    package var vendorClass = ""
    package var tftpServerName = ""
    package var bootFileName = ""
    /// The fixed field `file`; at most 127 bytes are written.
    package var bootFile = ""

    package init(operation: UInt8, messageType: UInt8, transactionID: UInt32, clientMAC: MACAddress) {
        self.operation = operation
        self.messageType = messageType
        self.transactionID = transactionID
        self.clientMAC = clientMAC
    }

    /// The skeleton of a server's answer: what must be repeated from the client's message (RFC 2131 table 3).
    package init(replyTo request: borrowing DHCPv4View, messageType: UInt8) {
        self.init(
            operation: DHCPv4.bootReply, messageType: messageType, transactionID: request.transactionID,
            clientMAC: request.clientMAC)
        flags = request.flags
        relayAddress = request.relayAddress
    }

    /// Writes the message. Traps when the span has not 300 bytes.
    /// - Parameter limit: the most to write, 300 or more; see `DHCPv4View.maximumReplyLength`.
    /// - Returns: the bytes written.
    @discardableResult
    package func write(to span: inout MutableRawSpan, at offset: Int, limit: Int = DHCPv4.defaultMaximumLength) -> Int {
        span.checkRoom(DHCPv4.minimumLength, at: offset)
        span.clear(at: offset, count: DHCPv4.minimumLength)
        span.putField(u8: operation, at: offset)
        span.putField(u16: 0x0106, at: offset + 1)
        span.putField(u32: transactionID, at: offset + 4)
        span.putField(u16: flags, at: offset + 10)
        span.putField(u32: clientAddress.v4, at: offset + 12)
        span.putField(u32: yourAddress.v4, at: offset + 16)
        span.putField(u32: serverAddress.v4, at: offset + 20)
        span.putField(u32: relayAddress.v4, at: offset + 24)
        span.putField(u64: clientMAC.rawValue << 16, at: offset + 28)
        for (index, byte) in bootFile.utf8.prefix(127).enumerated() {
            span.putField(u8: byte, at: offset + 108 + index)
        }
        span.putField(u32: DHCPv4.magicCookie, at: offset + 236)

        // One byte is kept for the end option.
        let end = min(offset + max(limit, DHCPv4.minimumLength), span.byteCount) - 1
        var next = offset + DHCPv4.fixedLength
        for (code, value) in options where !value.isEmpty {
            let parts = (value.count + 254) / 255
            guard next + value.count + 2 * parts <= end else { continue }
            var start = 0
            while start < value.count {
                let count = min(255, value.count - start)
                span.store(u8: code, at: next)
                span.store(u8: UInt8(count), at: next + 1)
                span.copy(from: value.rawSpan.extracting(start..<(start + count)), at: next + 2)
                next += 2 + count
                start += count
            }
        }
        span.store(u8: DHCPv4Option.end, at: next)
        return max(next + 1 - offset, DHCPv4.minimumLength)
    }

    /// All options in the order of writing; empty ones are not written.
    private var options: [(code: UInt8, value: [UInt8])] {
        [
            (DHCPv4Option.messageType, [messageType]),
            (DHCPv4Option.serverIdentifier, Self.bytes(serverIdentifier?.v4)),
            (DHCPv4Option.requestedAddress, Self.bytes(requestedAddress?.v4)),
            (DHCPv4Option.leaseTime, Self.bytes(leaseTime)),
            (DHCPv4Option.renewalTime, Self.bytes(renewalTime)),
            (DHCPv4Option.rebindingTime, Self.bytes(rebindingTime)),
            (DHCPv4Option.subnetMask, Self.bytes(subnetMask)),
            (DHCPv4Option.broadcastAddress, Self.bytes(broadcastAddress?.v4)),
            // RFC 3442: option 121 in front of option 3.
            (DHCPv4Option.classlessRoutes, classlessRoutes.flatMap(Self.bytes)),
            (DHCPv4Option.routers, routers.flatMap { Self.bytes($0.v4) }),
            (DHCPv4Option.dnsServers, dnsServers.flatMap { Self.bytes($0.v4) }),
            (DHCPv4Option.interfaceMTU, interfaceMTU.map { [UInt8($0 >> 8), UInt8($0 & 255)] } ?? []),
            (DHCPv4Option.parameterRequestList, parameterRequestList),
            (DHCPv4Option.vendorClass, Array(vendorClass.utf8.prefix(255))),
            (DHCPv4Option.tftpServerName, Array(tftpServerName.utf8.prefix(255))),
            (DHCPv4Option.bootFileName, Array(bootFileName.utf8.prefix(255))),
            (DHCPv4Option.hostName, Array(hostName.utf8.prefix(255))),
            (DHCPv4Option.domainName, Array(domainName.utf8.prefix(255))),
            (DHCPv4Option.ntpServers, ntpServers.flatMap { Self.bytes($0.v4) }),
            (DHCPv4Option.domainSearch, domainSearch),
        ]
    }

    private static func bytes(_ value: UInt32?) -> [UInt8] {
        guard let value else { return [] }
        return [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
    }

    /// RFC 3442: the prefix length, its significant bytes, the router.
    private static func bytes(_ route: DHCPv4Route) -> [UInt8] {
        let significant = (Int(route.destination.length) + 7) / 8
        return [route.destination.length] + bytes(route.destination.network.v4).prefix(significant)
            + bytes(route.router.v4)
    }
}
