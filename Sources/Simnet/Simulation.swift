package import Netstack
import Wire

// One guest, one core, one scripted host, and a wire between guest and core that loses, delays, reorders and duplicates,
// all on one virtual clock. An hour of protocol time takes milliseconds, and a seed says it all.

/// How the wire misbehaves, in each direction.
package struct WireFaults: Sendable {
    package var loss = 0.0
    package var duplication = 0.0
    /// Chance that a segment takes up to `jitter` longer than its neighbours.
    package var reordering = 0.0
    package var delay: Int64 = .milliseconds(1)
    package var jitter: Int64 = .milliseconds(5)
    package init() {}
}

package final class Simulation {
    private enum Arrival { case toCore([UInt8]), toGuest(WireSegment) }
    private struct Pending {
        var due: Instant
        var order: Int
        var arrival: Arrival
    }

    package private(set) var now = Instant(nanoseconds: 1_000_000_000)
    package var core: Core
    package var host: ScriptedHost
    package var guest: GuestTCP
    package var faults: WireFaults
    package private(set) var complaints: [String] = []
    package private(set) var segmentsToGuest = 0
    package private(set) var segmentsToCore = 0
    private var random: SeededGenerator
    private var wire: [Pending] = []
    private var order = 0

    package static let configuration = Configuration(
        v4: Configuration.Family(
            prefix: Prefix("10.0.2.0/24")!, gateway: IPAddress("10.0.2.1")!, guest: IPAddress("10.0.2.2")!,
            hostAlias: IPAddress("10.0.2.254")!),
        v6: Configuration.Family(
            prefix: Prefix("fd00::/64")!, gateway: IPAddress("fd00::1")!, guest: IPAddress("fd00::2")!,
            hostAlias: IPAddress("fd00::fe")!),
        gatewayLinkLocal: IPAddress("fe80::1")!, gatewayMAC: MACAddress(rawValue: 0x5e00_0000_0001))

    package init(
        seed: UInt64, guest options: GuestTCP.Options, host script: ScriptedHost.Script, faults: WireFaults,
        isV4: Bool = true, configuration: Configuration = Simulation.configuration
    ) {
        core = Core(configuration, seed: seed, at: now)
        host = ScriptedHost(script: script, seed: seed)
        self.faults = faults
        random = SeededGenerator(seed: seed)
        let family = (isV4 ? configuration.v4 : configuration.v6)!
        guest = GuestTCP(
            options: options, from: Endpoint(address: family.guest, port: 40_000),
            to: Endpoint(address: IPAddress(isV4 ? "198.51.100.7" : "2001:db8::7")!, port: 80),
            mac: MACAddress(rawValue: 0x5200_0000_0002), gatewayMAC: configuration.gatewayMAC, toHost: host.fromGuest,
            fromHost: host.fromHost)
        host.now = now
    }

    /// Runs until `finished` or until virtual `limit` has passed. Whether it finished.
    package func run(for limit: Int64, until finished: (Simulation) -> Bool) -> Bool {
        let end = now + limit
        while !finished(self) {
            guard let next = nextInstant, next <= end else {
                now = end
                return finished(self)
            }
            if next > now { now = next }
            step()
        }
        return true
    }

    /// Handles everything that is due now, then lets the core speak.
    package func step() {
        host.now = now
        wire.sort { $0.due == $1.due ? $0.order < $1.order : $0.due < $1.due }
        while let first = wire.first, first.due <= now {
            wire.removeFirst()
            switch first.arrival {
            case .toCore(let frame):
                unsafe core.receive(frame.span.bytes, offload: OffloadHeader(), at: now, outside: &host)
            case .toGuest(let segment): guest.receive(segment, at: now)
            }
        }
        deliverHostEvents()
        guest.expire(at: now)
        if core.nextDeadline <= now { core.advance(to: now, outside: &host) }
        repeat { core.flush(at: now, outside: &host) } while core.hasPendingOutput && !host.linkIsFull
        carry()
    }

    private var nextInstant: Instant? {
        var next = min(core.nextDeadline, guest.deadline)
        for pending in wire { next = min(next, pending.due) }
        for (due, event) in host.events where host.isWatched(event) { next = min(next, due) }
        if !guest.outbox.isEmpty { next = now }
        return next == .never ? nil : next
    }

    private func deliverHostEvents() {
        var kept: [(due: Instant, event: ScriptedHost.Event)] = []
        let events = host.events
        host.events = []
        for (due, event) in events {
            guard due <= now else {
                kept.append((due, event))
                continue
            }
            guard host.isWatched(event) else {
                kept.append((due, event))
                continue
            }
            switch event {
            case .connected(let flow, let error): core.hostConnected(flow, error, at: now, outside: &host)
            case .readable(let flow): core.hostReadable(flow)
            case .writable(let flow): core.hostWritable(flow, at: now, outside: &host)
            }
        }
        // Sockets that are gone have no more events.
        let live = kept.filter { entry in
            switch entry.event {
            case .connected: return true
            case .readable(let flow), .writable(let flow): return host.sockets[flow]?.closed == false
            }
        }
        host.events += live
    }

    private func carry() {
        let frames = host.frames
        host.frames = []
        for frame in frames {
            let (segments, complaint) = WireSegment.cut(frame.bytes, frame.offload)
            if let complaint { complaints.append(complaint) }
            for segment in segments {
                segmentsToGuest += 1
                post(.toGuest(segment))
            }
        }
        let out = guest.outbox
        guest.outbox = []
        for bytes in out {
            segmentsToCore += 1
            post(.toCore(bytes))
        }
    }

    private func post(_ arrival: Arrival) {
        if random.chance(faults.loss) { return }
        let copies = random.chance(faults.duplication) ? 2 : 1
        for _ in 0..<copies {
            var due = now + faults.delay
            if random.chance(faults.reordering) { due = due + Int64.random(in: 0...faults.jitter, using: &random) }
            order += 1
            wire.append(Pending(due: due, order: order, arrival: arrival))
        }
    }
}
