// Connections that wait for something which comes for all of them at once: room on the link, a chunk of the pool.

/// Flows in the order in which they began to wait. Bounded: each that lives is listed once, and those that have ended meanwhile are thrown
/// out before they are as many again as connections can be.
struct WaitingList {
    private var flows: [FlowID] = []

    var isEmpty: Bool { flows.isEmpty }
    var indices: Range<Int> { flows.indices }
    subscript(i: Int) -> FlowID { flows[i] }

    mutating func append(_ flow: FlowID, among connections: borrowing Slab<Connection>) {
        if flows.count >= 2 * connections.capacity {
            var live = 0
            for i in flows.indices where connections.find(flows[i]) != nil {
                flows[live] = flows[i]
                live += 1
            }
            flows.removeLast(flows.count - live)
        }
        flows.append(flow)
    }

    mutating func removeAll() { flows.removeAll(keepingCapacity: true) }
}
