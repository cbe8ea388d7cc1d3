internal import CHost
internal import Glibc
package import Wire

/// The interface that the agent in a VM makes: a tap without offloads, up, with the addresses it is told or none.
package struct GuestInterface: Sendable {
    package var name: String
    package var mac: MACAddress
    package var mtu: Int
    /// Frames that wait for the agent (`txqueuelen`).
    package var queue: Int
    package var addresses: [Prefix]
    package var gateways: [IPAddress]

    package init(
        name: String, mac: MACAddress, mtu: Int, queue: Int, addresses: [Prefix] = [], gateways: [IPAddress] = []
    ) {
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.queue = queue
        self.addresses = addresses
        self.gateways = gateways
    }

    /// Makes it, or takes a persistent tap of this name.
    /// - Returns: its descriptor, non-blocking.
    package func open() throws -> Int32 {
        let fd = unsafe host_tap_open_plain(name)
        switch -fd {
        case ENOENT, ENXIO, ENODEV: throw SandboxError("/dev/net/tun is missing: load the module with 'modprobe tun'")
        case EACCES, EPERM: throw SandboxError("only root may make the interface \(name)")
        case EBUSY, EEXIST: throw SandboxError("there is an interface \(name) already: choose another with --interface")
        case 1...: throw SandboxError("cannot create the interface \(name)", errno: -fd)
        default: break
        }
        do {
            let netlink = try Netlink()
            let index = try Netlink.index(of: name)
            // A MAC address cannot be changed on an interface that is up.
            try netlink.request(.prepare(index, mtu: mtu, queue: queue, mac: mac), "set up \(name)")
            try netlink.request(.up(index), "bring \(name) up")
            for address in addresses {
                try netlink.request(
                    .address(
                        address.address, prefixLength: address.length, on: index,
                        broadcast: address.isV4 ? address.broadcast : nil),
                    "set the address \(address)")
            }
            for gateway in gateways {
                try netlink.request(.defaultRoute(via: gateway, on: index), "set the default route via \(gateway)")
            }
        } catch {
            close(fd)
            throw error
        }
        return fd
    }

    /// A MAC address that stays the same for this VM and name: of the machine's identity (machine-id(5)) and its vsock CID, which tells
    /// clones apart on one host. A random one where there is no identity.
    package static func stableMAC(_ name: String) -> MACAddress {
        var bits = UInt64.random(in: .min ... .max)
        if let identity = File.read("/etc/machine-id"), identity.utf8.count >= 32 {
            var hash = SipHash(key: (0x706f_7274_6f6c_616e, UInt64(host_vsock_cid())))
            for byte in (identity + name).utf8 { hash.add(UInt64(byte)) }
            bits = hash.finish(0, length: identity.utf8.count + name.utf8.count)
        }
        return MACAddress(locallyAdministered: bits)
    }
}
