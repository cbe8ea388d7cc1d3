package import Wire

// Which station of a switch has which address: bindings as RFC 7039 (source address validation) and DHCP snooping know them.
//
//   ours        the gateway, the host's alias: nobody else's, ever
//   reserved    of a MAC address, by configuration
//   leased      of the MAC address that DHCP gave it to, until the lease ends
//   learnt      of the station that showed it first (RFC 6620): configured inside a machine, or made from a router advertisement.
//               Tentative while it has only been probed for (RFC 5227 section 2.1.1, RFC 4862 section 5.4), so that nobody can spoil
//               a machine's probe; then in use. It is forgotten with its port
//
//   who claims an address      it is free    its own    another's lease          another's, learnt, in use     ... tentative
//   by using or telling it     learnt        fine       refused until it ends    refused                       refused
//   by a probe                 tentative     fine       refused until it ends    fine: its holder answers      refused
//
// A lease takes an address from whoever had it without one: the DHCP server has the last word, and asks here first (`isHeld`).
//
// Addresses of the link alone are bound: those of the network's prefixes and link-local ones. Others are a router's between machines,
// and the core drops them.
//
// Limits: `perPort` learnt addresses a port. One that shows more loses the one that it has not used for longest (a clock with a second
// chance), so that a guest that invents addresses hurts itself alone. Leases and reservations are as many as the DHCP servers have.

/// Addresses by station.
package struct AddressBindings: ~Copyable {
    package static let perPort = 32
    /// Leases and reservations of both families.
    private static let others = 8 * DHCPLeases.capacity

    /// Why a frame is not heard.
    package enum Refusal: Int, CaseIterable, Sendable {
        /// Its address is leased to another station, or another's that came first.
        case addressOfAnother
        case addressOfGateway
        /// It says that the address is at another MAC address than the frame's.
        case foreignMAC
        /// A router advertisement or a redirect.
        case routerMessage
        /// A DHCP server's message.
        case serverMessage
        /// ARP, neighbour discovery or extension headers that cannot be read, but might be by somebody else.
        case malformed
    }

    // Not private: see StationTable.
    package enum Kind: UInt8, BitwiseCopyable { case ours, reserved, leased, tentative, used }

    package struct Binding: BitwiseCopyable {
        var address: IPAddress
        var mac: MACAddress
        /// Of a lease.
        var expires: Instant
        /// Of a learnt one.
        var port: UInt32
        var kind: Kind
        /// Used since the clock's hand last passed.
        var isRecent = true

        var isLearnt: Bool { kind == .tentative || kind == .used }
    }

    /// The learnt bindings of a port.
    package struct Clock: BitwiseCopyable {
        var slots = InlineArray<32, UInt32>(repeating: 0)
        var count: UInt8 = 0
        var hand: UInt8 = 0
    }

    private var bindings: Slab<Binding>
    private var table = FlowTable()
    private var clocks: [Clock] = []
    private let prefix4: Prefix?
    private let prefix6: Prefix?
    private let secret: UInt64

    package init(_ configuration: Configuration, ports: Int, seed: UInt64) {
        bindings = Slab(capacity: ports * Self.perPort + Self.others)
        secret = seed | 1
        prefix4 = configuration.v4?.prefix
        prefix6 = configuration.v6?.prefix
        let mac = configuration.gatewayMAC
        for family in [configuration.v4, configuration.v6].compactMap({ $0 }) {
            put(family.gateway, mac, .ours)
            put(family.hostAlias, mac, .ours)
        }
        put(configuration.gatewayLinkLocal, mac, .ours)
        for host in configuration.leases.hosts {
            for address in [host.v4, host.v6].compactMap({ $0 }) { put(address, host.mac, .reserved) }
        }
    }

    package var count: Int { bindings.count }

    private func hash(_ address: IPAddress) -> UInt64 {
        let product = (address.lo ^ secret).multipliedFullWidth(by: address.hi ^ 0x9e37_79b9_7f4a_7c15 ^ secret << 1)
        return product.high ^ product.low
    }

    private func find(_ address: IPAddress) -> UInt32? {
        table.find(hash(address)) { bindings[$0].address == address }
    }

    // MARK: The DHCP servers' word

    /// An address was leased.
    package mutating func lease(_ address: IPAddress, to mac: MACAddress, until expires: Instant) {
        if let index = find(address) {
            guard bindings[index].kind != .ours, bindings[index].kind != .reserved else { return }
            remove(index)
        }
        put(address, mac, .leased, until: expires)
    }

    /// A lease has ended.
    package mutating func release(_ address: IPAddress) {
        if let index = find(address), bindings[index].kind == .leased { remove(index) }
    }

    /// Whether another station uses an address, with or without a lease.
    package func isHeld(_ address: IPAddress, byOtherThan mac: MACAddress, at now: Instant) -> Bool {
        guard let index = find(address), bindings[index].mac != mac else { return false }
        return bindings[index].kind != .leased || bindings[index].expires > now
    }

    // MARK: The stations' word

    /// A station uses an address, tells that it has it, or probes whether somebody has it.
    /// - Parameters:
    ///   - mac: a unicast address, known to be behind `port`.
    ///   - now: only looked at where a lease stands in the way.
    package mutating func claim(
        _ address: IPAddress, by mac: MACAddress, port: Int, isProbe: Bool = false, now: @autoclosure () -> Instant
    ) -> Refusal? {
        if let index = find(address) {
            if bindings[index].mac == mac {
                if !bindings[index].isRecent { bindings[index].isRecent = true }
                if bindings[index].kind == .tentative, !isProbe { bindings[index].kind = .used }
                return nil
            }
            switch bindings[index].kind {
            case .ours: return .addressOfGateway
            case .reserved, .tentative: return .addressOfAnother
            case .used: return isProbe ? nil : .addressOfAnother
            case .leased: if bindings[index].expires > now() { return .addressOfAnother }
            }
            remove(index)
        }
        guard isOfLink(address) else { return nil }
        learn(address, mac, port, isProbe ? .tentative : .used)
        return nil
    }

    private func isOfLink(_ address: IPAddress) -> Bool {
        if address.isLinkLocal { return true }
        guard let prefix = address.isV4 ? prefix4 : prefix6, prefix.contains(address) else { return false }
        return !address.isV4 || address != prefix.network && address != prefix.broadcast
    }

    /// The port is no more.
    package mutating func forget(port: Int) {
        guard port < clocks.count else { return }
        while clocks[port].count > 0 { remove(clocks[port].slots[Int(clocks[port].count) - 1]) }
    }

    // MARK: The table

    private mutating func learn(_ address: IPAddress, _ mac: MACAddress, _ port: Int, _ kind: Kind) {
        while clocks.count <= port { clocks.append(Clock()) }
        if Int(clocks[port].count) == Self.perPort { giveUpOne(of: port) }
        guard let index = put(address, mac, kind, port: UInt32(port)) else { return }
        clocks[port].slots[Int(clocks[port].count)] = index
        clocks[port].count += 1
    }

    private mutating func giveUpOne(of port: Int) {
        while true {
            let hand = Int(clocks[port].hand) % Self.perPort
            let index = clocks[port].slots[hand]
            if !bindings[index].isRecent { return remove(index) }
            bindings[index].isRecent = false
            clocks[port].hand = UInt8(hand + 1)
        }
    }

    @discardableResult
    private mutating func put(
        _ address: IPAddress, _ mac: MACAddress, _ kind: Kind, until expires: Instant = .never, port: UInt32 = 0
    ) -> UInt32? {
        let binding = Binding(address: address, mac: mac, expires: expires, port: port, kind: kind)
        guard let index = bindings.insert(binding) else { return nil }
        table.insert(hash(address), index)
        return index
    }

    private mutating func remove(_ index: UInt32) {
        if bindings[index].isLearnt {
            let port = Int(bindings[index].port)
            let last = Int(clocks[port].count) - 1
            for slot in 0...last where clocks[port].slots[slot] == index {
                clocks[port].slots[slot] = clocks[port].slots[last]
                break
            }
            clocks[port].count -= 1
        }
        table.remove(hash(bindings[index].address), index)
        bindings.remove(index)
    }
}
