internal import CHost
internal import Glibc
internal import Wire

// Opening and configuring the tap, from within the network namespace it is for. Runs in a forked child.

/// What the kernel granted of a tap's offloads.
package struct TapFeatures: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let checksum = TapFeatures(rawValue: 0x01)
    package static let tso4 = TapFeatures(rawValue: 0x02)
    package static let tso6 = TapFeatures(rawValue: 0x04)
    package static let uso = TapFeatures(rawValue: 0x20)

    /// For the log: what is missing, or nil when all is there.
    package var missing: String? {
        var names: [String] = []
        if !contains(.checksum) { names.append("checksum") }
        if !contains(.tso4) || !contains(.tso6) { names.append("TCP segmentation") }
        if !contains(.uso) { names.append("UDP segmentation (Linux 6.2)") }
        return names.isEmpty ? nil : names.joined(separator: ", ")
    }
}

enum Tap {
    /// Creates the interface in the current network namespace.
    /// - Parameter endsWithNamespace: the namespace ends with us, and the interface with it, by the kernel's own thread. To take it down
    ///   with the last descriptor keeps the process that closes it waiting: 23 ms, half of what a sandbox that runs `true` takes.
    static func open(name: String, endsWithNamespace: Bool) throws(SandboxError) -> (fd: Int32, features: TapFeatures) {
        var features: UInt32 = 0
        var stage: Int32 = 0
        let fd = unsafe host_tap_open(name, endsWithNamespace ? 1 : 0, &features, &stage)
        guard fd < 0 else { return (fd, TapFeatures(rawValue: features)) }
        switch (stage, -fd) {
        case (1, ENOENT), (1, ENXIO), (1, ENODEV):
            throw SandboxError(
                "/dev/net/tun is missing: load the module with 'modprobe tun', or give the container that device")
        case (1, EACCES), (1, EPERM):
            throw SandboxError(
                "/dev/net/tun may not be opened: let users open it with 'chmod 666 /dev/net/tun' (udev does that elsewhere)"
            )
        case (1, let code):
            throw SandboxError("/dev/net/tun cannot be opened", errno: code)
        case (2, EBUSY), (2, EEXIST):
            throw SandboxError("the sandbox has an interface \(name) already: choose another with --interface")
        case (2, ENOTTY), (2, EBADFD):
            throw SandboxError("/dev/net/tun is not the tun device: it must be the character device 10, 200")
        case (2, EPERM):
            throw SandboxError("the namespace does not let us create an interface: it belongs to another user")
        case (2, let code):
            throw SandboxError("cannot create the interface \(name)", errno: code)
        case (_, let code):
            throw SandboxError("the kernel's tap has no virtio headers", errno: code)
        }
    }

    /// Addresses, routes and the knobs of an interface in the current network namespace.
    static func configure(_ options: InterfaceOptions) throws(SandboxError) {
        let netlink = try Netlink()
        try netlink.request(.up(try Netlink.index(of: "lo")), "bring lo up")
        let index = try Netlink.index(of: options.name)
        guard options.configure else {
            return try netlink.request(
                .prepare(index, mtu: options.mtu, queue: InterfaceOptions.queueLength, mac: options.mac),
                "set up \(options.name)")
        }
        // The address is known to be free, and a router advertisement must not add a second one.
        _ = File.write("/proc/sys/net/ipv6/conf/\(options.name)/accept_ra", "0")
        _ = File.write("/proc/sys/net/ipv6/conf/\(options.name)/accept_dad", "0")
        if options.v6 == nil { _ = File.write("/proc/sys/net/ipv6/conf/\(options.name)/disable_ipv6", "1") }
        try netlink.request(
            .up(index, mtu: options.mtu, queue: InterfaceOptions.queueLength, mac: options.mac),
            "bring \(options.name) up")
        for family in [options.v4, options.v6] {
            guard let family else { continue }
            try netlink.request(
                .address(
                    family.address, prefixLength: family.prefix.length, on: index,
                    broadcast: family.address.isV4 ? family.prefix.broadcast : nil),
                "set the address \(family.address)")
            try netlink.request(
                .defaultRoute(via: family.gateway, on: index), "set the default route via \(family.gateway)")
            // Otherwise the first packets wait for ARP or neighbour discovery, and the kernel keeps only 256 small ones.
            try netlink.request(
                .neighbour(family.gateway, at: options.gatewayMAC, on: index),
                "make the gateway \(family.gateway) known")
        }
    }
}
