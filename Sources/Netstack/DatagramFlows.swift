package import Wire

// The table behind UDP and echo: one flow per endpoint of the guest (an address and a port, or an echo identifier),
// whomever it speaks to: the endpoint-independent mapping of RFC 4787 REQ-1. For clients of a forwarded port
// (ServedDatagrams): one flow per endpoint of the guest and client.
//
//   idle list "brief"    oldest <-> ... <-> newest        flows that only ever asked a name server
//   idle list "full"     oldest <-> ... <-> newest        all others
//
// Every use of a flow moves it to the newest end of its list. All flows of a list have the same idle time, so the oldest
// one is the next to expire, and no other timer is needed; it is also the one that gives way when the table is full.
//
// Limits: the capacity given at the start. Memory follows the high-water mark (`Slab`).

/// One endpoint of the guest with a host socket of its own.
package struct DatagramFlow: BitwiseCopyable {
    /// The guest's address and UDP port or echo identifier.
    package var guest: Endpoint
    /// The client of a forwarded port, as the guest sees it; for a flow to whomever, `guest` again.
    package var remote: Endpoint
    /// Where the guest's last packet came from.
    package var mac: MACAddress
    package var lastUsed: Instant
    /// Only name servers were asked.
    package fileprivate(set) var isBrief: Bool
    fileprivate var older: UInt32
    fileprivate var newer: UInt32
}

/// Flows by guest endpoint and by `FlowID`, in the order of their last use.
package struct DatagramFlows: ~Copyable {
    private static let none = UInt32.max

    private let kind: FlowID.Kind
    private let briefIdleTime: Int64
    private let idleTime: Int64
    private let secret: UInt64
    private var slab: Slab<DatagramFlow>
    private var table = FlowTable()
    /// Brief list, full list.
    private var oldest = (DatagramFlows.none, DatagramFlows.none)
    private var newest = (DatagramFlows.none, DatagramFlows.none)

    package init(kind: FlowID.Kind, capacity: Int, idleTime: Int64, briefIdleTime: Int64, seed: UInt64) {
        self.kind = kind
        self.idleTime = idleTime
        self.briefIdleTime = briefIdleTime
        secret = seed
        slab = Slab(capacity: capacity)
    }

    package var count: Int { slab.count }
    package var capacity: Int { slab.capacity }

    package subscript(_ index: UInt32) -> DatagramFlow { slab[index] }

    package func id(of index: UInt32) -> FlowID {
        FlowID(kind, index: index, generation: slab.generation(of: index))
    }

    /// The flow of a guest's endpoint.
    package func find(_ guest: Endpoint) -> UInt32? { find(guest, remote: guest) }

    package func find(_ guest: Endpoint, remote: Endpoint) -> UInt32? {
        table.find(hash(guest, remote)) { slab[$0].guest == guest && slab[$0].remote == remote }
    }

    /// The flow that a host's event names, if it still lives.
    package func find(_ id: FlowID) -> UInt32? {
        id.kind == kind ? slab.find(id) : nil
    }

    /// Adds a flow, newest of its list. nil when the table is full.
    package mutating func insert(
        _ guest: Endpoint, remote: Endpoint? = nil, mac: MACAddress, isBrief: Bool, at now: Instant
    ) -> UInt32? {
        let remote = remote ?? guest
        let flow = DatagramFlow(
            guest: guest, remote: remote, mac: mac, lastUsed: now, isBrief: isBrief, older: Self.none, newer: Self.none)
        guard let index = slab.insert(flow) else { return nil }
        table.insert(hash(guest, remote), index)
        link(index)
        return index
    }

    /// Notes a packet of the guest. A flow that speaks to anybody but a name server is no longer brief.
    package mutating func use(_ index: UInt32, mac: MACAddress, isBrief: Bool, at now: Instant) {
        slab[index].mac = mac
        let staysBrief = slab[index].isBrief && isBrief
        if staysBrief != slab[index].isBrief {
            unlink(index)
            slab[index].isBrief = false
            slab[index].lastUsed = now
            link(index)
        } else {
            use(index, at: now)
        }
    }

    /// Notes a packet for the guest.
    package mutating func use(_ index: UInt32, at now: Instant) {
        slab[index].lastUsed = now
        guard slab[index].newer != Self.none else { return }
        unlink(index)
        link(index)
    }

    package mutating func remove(_ index: UInt32) {
        unlink(index)
        table.remove(hash(slab[index].guest, slab[index].remote), index)
        slab.remove(index)
    }

    /// The flow that has been idle longest, but not `newcomer`.
    package func idleLongest(except newcomer: UInt32? = nil) -> UInt32? {
        let brief = oldest.0 == newcomer ? Self.none : oldest.0
        let full = oldest.1 == newcomer ? Self.none : oldest.1
        if brief == Self.none { return full == Self.none ? nil : full }
        if full == Self.none { return brief }
        return slab[brief].lastUsed <= slab[full].lastUsed ? brief : full
    }

    /// A flow whose idle time has passed. It is still in the table.
    package func expired(at now: Instant) -> UInt32? {
        if oldest.0 != Self.none, slab[oldest.0].lastUsed + briefIdleTime <= now { return oldest.0 }
        if oldest.1 != Self.none, slab[oldest.1].lastUsed + idleTime <= now { return oldest.1 }
        return nil
    }

    /// When the next flow expires if nothing happens.
    package var nextDeadline: Instant {
        let brief = oldest.0 == Self.none ? .never : slab[oldest.0].lastUsed + briefIdleTime
        let full = oldest.1 == Self.none ? .never : slab[oldest.1].lastUsed + idleTime
        return min(brief, full)
    }

    private func hash(_ guest: Endpoint, _ remote: Endpoint) -> UInt64 {
        FlowKey(guest: guest, remote: remote).hash(secret: secret)
    }

    private mutating func link(_ index: UInt32) {
        let isBrief = slab[index].isBrief
        let last = isBrief ? newest.0 : newest.1
        slab[index].older = last
        slab[index].newer = Self.none
        if last != Self.none { slab[last].newer = index }
        if isBrief {
            newest.0 = index
            if last == Self.none { oldest.0 = index }
        } else {
            newest.1 = index
            if last == Self.none { oldest.1 = index }
        }
    }

    private mutating func unlink(_ index: UInt32) {
        let flow = slab[index]
        if flow.older != Self.none { slab[flow.older].newer = flow.newer }
        if flow.newer != Self.none { slab[flow.newer].older = flow.older }
        if flow.isBrief {
            if oldest.0 == index { oldest.0 = flow.newer }
            if newest.0 == index { newest.0 = flow.older }
        } else {
            if oldest.1 == index { oldest.1 = flow.newer }
            if newest.1 == index { newest.1 = flow.older }
        }
    }
}
