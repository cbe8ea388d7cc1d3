import Testing
import Wire

@testable import Netstack

@Suite struct DatagramFlowsTests {
    /// What the table should hold, kept the plain way.
    struct Model {
        var entries: [(guest: Endpoint, index: UInt32, lastUsed: Instant, isBrief: Bool)] = []
    }

    @Test("random operations against a plain model", arguments: UInt64(0)..<20)
    func model(_ seed: UInt64) {
        var random = Randomness(seed: seed)
        var flows = DatagramFlows(
            kind: .udp, capacity: 32, idleTime: 300, briefIdleTime: 120, seed: random.next())
        var model = Model()
        var now = Instant(nanoseconds: 0)
        for _ in 0..<3000 {
            now = now + Int64.random(in: 1...20, using: &random)
            while let index = flows.expired(at: now) {
                guard let at = model.entries.firstIndex(where: { $0.index == index }) else {
                    Issue.record("expired a stranger, seed \(seed)")
                    return
                }
                let entry = model.entries.remove(at: at)
                #expect(entry.lastUsed + (entry.isBrief ? 120 : 300) <= now, "seed \(seed)")
                flows.remove(index)
            }
            let guest = Endpoint(address: Lab.guest4, port: UInt16.random(in: 0...60, using: &random))
            let known = model.entries.firstIndex { $0.guest == guest }
            let found = flows.find(guest)
            #expect(found == known.map { model.entries[$0].index }, "seed \(seed)")
            let isBrief = Bool.random(using: &random)
            if let known, let found {
                flows.use(found, mac: Lab.guestMAC, isBrief: isBrief, at: now)
                model.entries[known].lastUsed = now
                model.entries[known].isBrief = model.entries[known].isBrief && isBrief
            } else {
                if flows.count == flows.capacity, let idle = flows.idleLongest() {
                    let oldest = model.entries.min { $0.lastUsed < $1.lastUsed }
                    #expect(oldest?.index == idle, "seed \(seed)")
                    model.entries.removeAll { $0.index == idle }
                    flows.remove(idle)
                }
                guard let index = flows.insert(guest, mac: Lab.guestMAC, isBrief: isBrief, at: now) else {
                    Issue.record("no room, seed \(seed)")
                    return
                }
                model.entries.append((guest, index, now, isBrief))
            }
            #expect(flows.count == model.entries.count, "seed \(seed)")
            let next = model.entries.map { $0.lastUsed + ($0.isBrief ? 120 : 300) }.min() ?? .never
            #expect(flows.nextDeadline == next, "seed \(seed)")
        }
    }

    @Test func aLateEventMeetsNoLaterTenant() {
        var flows = DatagramFlows(kind: .udp, capacity: 1, idleTime: 300, briefIdleTime: 120, seed: 1)
        let guest = Endpoint(address: Lab.guest4, port: 1)
        guard let first = flows.insert(guest, mac: Lab.guestMAC, isBrief: false, at: Lab.start) else { return }
        let id = flows.id(of: first)
        #expect(flows.find(id) == first)
        flows.remove(first)
        _ = flows.insert(guest, mac: Lab.guestMAC, isBrief: false, at: Lab.start)
        #expect(flows.find(id) == nil)
        let echo = FlowID(.echo, index: id.index, generation: id.generation)
        #expect(flows.find(echo) == nil)
    }
}
