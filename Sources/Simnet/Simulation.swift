package import Netstack
package import Wire

// A guest, a core and a host on one virtual clock.
//
//   GuestTCP ──▶ LossyWire up ──▶ Core ◀──▶ ScriptedHost
//            ◀── LossyWire down ◀── (outbox, every frame checked)
//
// `step` goes to the next moment at which anything is due and does everything that is due then, in the order of the shell's
// turn: frames, host events, deadlines, flush. Readiness is level-triggered, as epoll's is.

package struct Simulation: ~Copyable {
    package static let gatewayMAC = MACAddress(rawValue: 0x0200_0000_0001)
    package static let guestMAC = MACAddress(rawValue: 0x0200_0000_0002)

    package var core: Core
    package var host = ScriptedHost()
    package var guests: [GuestTCP] = []
    package var up: LossyWire
    package var down: LossyWire
    package var checker: FrameChecker
    package private(set) var now = Instant(nanoseconds: 1_000_000_000)
    /// Frames the link takes in one step; then it is full until the next.
    package var linkRoom = Int.max
    package private(set) var steps = 0
    /// Stands between the core and the guests, when there is one.
    package var router: NarrowRouter?
    /// The guest's kernel answers when asked for its station.
    package var answersResolution = true
    /// Frames that the core emitted, when kept.
    package var trace: [Frame]?

    package static func configuration(mtu: Int = 1500, _ adjust: (inout Configuration.Limits) -> Void = { _ in })
        -> Configuration
    {
        var limits = Configuration.Limits()
        limits.connections = 64
        limits.timeWaits = 16
        limits.chunks = 256
        limits.handshakes = 16
        adjust(&limits)
        let net6: UInt64 = 0xfd00_0000_0000_0000
        return Configuration(
            v4: Configuration.Family(
                prefix: Prefix("10.0.2.0/24")!, gateway: IPAddress("10.0.2.1")!, guest: IPAddress("10.0.2.2")!,
                hostAlias: IPAddress("10.0.2.254")!),
            v6: Configuration.Family(
                prefix: Prefix("fd00::/64")!, gateway: IPAddress(hi: net6, lo: 1), guest: IPAddress(hi: net6, lo: 2),
                hostAlias: IPAddress(hi: net6, lo: 254)),
            gatewayLinkLocal: IPAddress("fe80::1")!, gatewayMAC: gatewayMAC, mtu: mtu, limits: limits)
    }

    package init(
        _ configuration: Configuration = Simulation.configuration(), up: WireFaults = WireFaults(),
        down: WireFaults = WireFaults(), seed: UInt64 = 1
    ) {
        core = Core(configuration, seed: seed &* 0x9e37_79b9_7f4a_7c15 | 1, at: now)
        self.up = LossyWire(up, seed: seed &+ 101)
        self.down = LossyWire(down, seed: seed &+ 202)
        checker = FrameChecker(mtu: configuration.mtu)
        host.now = now
    }

    /// Adds a guest endpoint and sends its SYN.
    @discardableResult
    package mutating func connect(
        _ options: GuestTCP.Options = .init(), stream: [UInt8] = [], mac: MACAddress = Simulation.guestMAC
    ) -> Int {
        let family = options.isV4 ? core.configuration.v4! : core.configuration.v6!
        var guest = GuestTCP(
            options, stream: stream, address: family.guest, mac: mac, gatewayMAC: Self.gatewayMAC)
        guest.connect(at: now)
        guests.append(guest)
        return guests.count - 1
    }

    /// Adds a guest endpoint that listens.
    @discardableResult
    package mutating func listen(_ options: GuestTCP.Options, stream: [UInt8] = []) -> Int {
        let family = options.isV4 ? core.configuration.v4! : core.configuration.v6!
        var guest = GuestTCP(
            options, stream: stream, address: family.guest, mac: Self.guestMAC, gatewayMAC: Self.gatewayMAC)
        guest.listen()
        guests.append(guest)
        return guests.count - 1
    }

    /// A client connects to a forwarded port; its socket behaves as `host.script` says. nil when it is refused at once, else the
    /// socket's number.
    @discardableResult
    package mutating func accept(from client: Endpoint, toPort port: UInt16) -> Int? {
        let family = client.address.isV4 ? core.configuration.v4! : core.configuration.v6!
        let guest = Endpoint(address: family.guest, port: port)
        guard let flow = core.hostAccepted(from: client, to: guest, at: now, outside: &host) else { return nil }
        host.adopt(flow, from: client)
        return host.sockets.count - 1
    }

    /// Everything that anybody has said is nowhere on the way any more and nothing is due.
    package var next: Instant {
        var next = min(min(up.next, down.next), min(host.next, core.nextDeadline))
        for guest in guests { next = min(next, guest.next) }
        return next
    }

    /// Runs until `done`, the time is over, or nothing is left to happen. Whether `done` came true.
    @discardableResult
    package mutating func run(
        for duration: Int64 = .seconds(600), until done: (borrowing Simulation) -> Bool = { _ in false }
    )
        -> Bool
    {
        let end = now + duration
        settle()
        while !done(self) {
            let next = self.next
            guard next <= end else {
                now = max(now, end)
                host.advance(to: now)
                return false
            }
            now = max(now, next)
            settle()
            steps += 1
        }
        return true
    }

    /// Everything that is due now.
    package mutating func settle() {
        host.advance(to: now)
        // Enough rounds for what the events of this moment give rise to.
        for _ in 0..<64 {
            var busy = false
            for i in guests.indices {
                if guests[i].next <= now {
                    guests[i].advance(to: now)
                    busy = true
                }
                let frames = guests[i].outbox
                guests[i].outbox = []
                for frame in frames {
                    if let answer = frame.synAck { checker.answered(answer.key, answer.options) }
                    up.send(frame, at: now)
                }
            }
            while let frame = up.arrival(until: now) {
                core.receive(frame.bytes.raw, offload: frame.offload, at: now, outside: &host)
                busy = true
            }
            if hostEvents() { busy = true }
            if core.nextDeadline <= now {
                core.advance(to: now, outside: &host)
                busy = true
            }
            host.linkRoom = linkRoom
            core.linkHasRoom()
            core.flush(at: now, outside: &host)
            if core.hasPendingOutput || core.waitsForLink { busy = true }
            let frames = host.outbox
            host.outbox = []
            for frame in frames {
                checker.check(frame)
                trace?.append(frame)
                let passed = router?.pass(frame, mac: Self.guestMAC) ?? (onward: [frame], complaint: nil)
                for frame in passed.onward { down.send(frame, at: now) }
                if let complaint = passed.complaint { up.send(complaint, at: now) }
            }
            while let frame = down.arrival(until: now) {
                for i in guests.indices { guests[i].receive(frame, at: now) }
                if answersResolution, let answer = resolution(of: frame) { up.send(answer, at: now) }
                busy = true
            }
            if !busy { return }
        }
    }

    private mutating func hostEvents() -> Bool {
        var busy = false
        for i in host.sockets.indices {
            let socket = host.sockets[i]
            if socket.closed { continue }
            if socket.connectAt <= now {
                host.sockets[i].connectAt = .never
                host.sockets[i].connected = socket.script.connectError == nil
                host.sockets[i].watchesRead = host.sockets[i].connected
                core.hostConnected(socket.flow, socket.script.connectError, at: now, outside: &host)
                busy = true
                continue
            }
            if socket.watchesUrgent, socket.urgentNext != nil {
                core.hostUrgent(socket.flow)
                busy = true
            }
            if socket.watchesRead, socket.isReadable {
                core.hostReadable(socket.flow)
                busy = true
            }
            if socket.watchesWrite, socket.isWritable {
                core.hostWritable(socket.flow, at: now, outside: &host)
                busy = true
            }
        }
        return busy
    }

    /// The host's socket fails (ECONNRESET outside of a call).
    package mutating func failSocket(_ i: Int, _ error: HostError) {
        core.hostFailed(host.sockets[i].flow, error, at: now, outside: &host)
    }

    /// Every violation that anybody noted.
    package var violations: [String] { checker.violations + guests.flatMap(\.violations) }
}
