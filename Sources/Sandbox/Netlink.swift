internal import CHost
internal import Glibc
package import Wire

// Configuring an interface by rtnetlink(7): one request with one acknowledgment at a time, composed as bytes.
//
//   struct nlmsghdr { u32 length; u16 type; u16 flags; u32 sequence; u32 port }    16 bytes
//   a family header (ifinfomsg 16, ifaddrmsg 8, rtmsg 12)
//   attributes { u16 length; u16 type; bytes }, each padded to 4
//
// Numbers are linux/rtnetlink.h's and linux/if_link.h's. All in the host's byte order, except addresses.

/// One rtnetlink request.
package struct NetlinkMessage: Equatable {
    package private(set) var bytes: [UInt8]

    /// - Parameters:
    ///   - create: NLM_F_CREATE | NLM_F_REPLACE, for addresses and routes.
    package init(type: UInt16, create: Bool, body: [UInt8]) {
        bytes = []
        // NLM_F_REQUEST | NLM_F_ACK
        let flags: UInt16 = 0x1 | 0x4 | (create ? 0x400 | 0x100 : 0)
        append(UInt32(0))
        append(type)
        append(flags)
        append(UInt32(1))
        append(UInt32(0))
        bytes += body
        finish()
    }

    package mutating func attribute(_ type: UInt16, _ value: [UInt8]) {
        append(UInt16(4 + value.count))
        append(type)
        bytes += value
        while bytes.count % 4 != 0 { bytes.append(0) }
        finish()
    }

    package mutating func attribute(_ type: UInt16, _ value: UInt32) { attribute(type, value.hostBytes) }

    private mutating func append(_ value: some FixedWidthInteger) { bytes += value.hostBytes }

    private mutating func finish() { bytes.replaceSubrange(0..<4, with: UInt32(bytes.count).hostBytes) }

    // MARK: The requests

    private static let newLink: UInt16 = 16
    private static let newAddress: UInt16 = 20
    private static let newRoute: UInt16 = 24
    private static let newNeighbour: UInt16 = 28

    private static func link(_ index: UInt32, up: Bool) -> NetlinkMessage {
        let flag: UInt32 = up ? 1 : 0
        let body = [0, 0, 0, 0] + index.hostBytes + flag.hostBytes + flag.hostBytes
        return NetlinkMessage(type: newLink, create: false, body: body)
    }

    /// Brings an interface up; sets what is given.
    package static func up(_ index: UInt32, mtu: Int? = nil, queue: Int? = nil, mac: MACAddress? = nil)
        -> NetlinkMessage
    {
        var message = link(index, up: true)
        if let mac { message.attribute(1, mac.networkBytes) }
        if let mtu { message.attribute(4, UInt32(mtu)) }
        if let queue { message.attribute(13, UInt32(queue)) }
        return message
    }

    /// Sets MTU, queue and MAC without bringing the interface up.
    package static func prepare(_ index: UInt32, mtu: Int, queue: Int, mac: MACAddress?) -> NetlinkMessage {
        var message = link(index, up: false)
        if let mac { message.attribute(1, mac.networkBytes) }
        message.attribute(4, UInt32(mtu))
        message.attribute(13, UInt32(queue))
        return message
    }

    /// Moves an interface to the network namespace that `fd` names.
    package static func move(_ index: UInt32, toNamespace fd: Int32) -> NetlinkMessage {
        var message = link(index, up: false)
        message.attribute(28, UInt32(bitPattern: fd))
        return message
    }

    /// Adds an address. IPv6 ones skip duplicate address detection (IFA_F_NODAD), to be usable at once.
    package static func address(_ address: IPAddress, prefixLength: UInt8, on index: UInt32, broadcast: IPAddress?)
        -> NetlinkMessage
    {
        let body = [family(address), prefixLength, 0, 0] + index.hostBytes
        var message = NetlinkMessage(type: newAddress, create: true, body: body)
        message.attribute(1, address.networkBytes)
        message.attribute(2, address.networkBytes)
        if let broadcast, address.isV4 { message.attribute(4, broadcast.networkBytes) }
        if !address.isV4 { message.attribute(8, UInt32(0x02)) }
        return message
    }

    /// Adds the default route of the gateway's family.
    package static func defaultRoute(via gateway: IPAddress, on index: UInt32) -> NetlinkMessage {
        // destination length, source length, TOS, table main, protocol static, scope universe, type unicast
        let body: [UInt8] = [family(gateway), 0, 0, 0, 254, 4, 0, 1] + UInt32(0).hostBytes
        var message = NetlinkMessage(type: newRoute, create: true, body: body)
        message.attribute(5, gateway.networkBytes)
        message.attribute(4, index)
        return message
    }

    /// Makes a neighbour's station known, as if it had just answered (NUD_REACHABLE): the kernel asks again when it wants to.
    package static func neighbour(_ address: IPAddress, at mac: MACAddress, on index: UInt32) -> NetlinkMessage {
        // family, padding, interface, state, flags, type
        let body: [UInt8] = [family(address), 0, 0, 0] + index.hostBytes + UInt16(0x02).hostBytes + [0, 0]
        var message = NetlinkMessage(type: newNeighbour, create: true, body: body)
        message.attribute(1, address.networkBytes)
        message.attribute(2, mac.networkBytes)
        return message
    }

    private static func family(_ address: IPAddress) -> UInt8 { UInt8(address.isV4 ? AF_INET : AF_INET6) }
}

extension FixedWidthInteger {
    fileprivate var hostBytes: [UInt8] { unsafe withUnsafeBytes(of: self) { unsafe Array($0) } }
}

extension IPAddress {
    /// 4 or 16 bytes in network order.
    fileprivate var networkBytes: [UInt8] {
        let all = unsafe withUnsafeBytes(of: (hi.bigEndian, lo.bigEndian)) { unsafe Array($0) }
        return isV4 ? Array(all[12...]) : all
    }
}

extension MACAddress {
    fileprivate var networkBytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: rawValue >> (40 - 8 * $0)) } }
}

/// A socket to the kernel's routing tables of the current network namespace.
struct Netlink: ~Copyable {
    private let fd: Int32

    init() throws(SandboxError) {
        fd = host_netlink_open()
        guard fd >= 0 else { throw SandboxError("cannot open a netlink socket", errno: -fd) }
    }

    deinit { close(fd) }

    /// Sends one request and waits for its acknowledgment.
    /// - Returns: 0 or -errno.
    func send(_ message: NetlinkMessage) -> Int32 {
        let bytes = message.bytes
        return unsafe bytes.withUnsafeBytes { unsafe host_netlink_request(fd, $0.baseAddress, $0.count) }
    }

    /// The same; `what` completes the sentence "cannot ...".
    func request(_ message: NetlinkMessage, _ what: String) throws(SandboxError) {
        let code = send(message)
        guard code == 0 else { throw SandboxError("cannot \(what)", errno: -code) }
    }

    /// An interface's number in this namespace.
    static func index(of name: String) throws(SandboxError) -> UInt32 {
        let index = unsafe if_nametoindex(name)
        guard index != 0 else { throw SandboxError("there is no interface \(name) in the sandbox", errno: errno) }
        return index
    }
}
