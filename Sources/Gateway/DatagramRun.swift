/// Datagrams of one size, one behind the other: as UDP_SEGMENT (udp(7)) and a tap with USO take them. The last may be shorter, and
/// ends the run.
struct DatagramRun {
    /// Bytes of a run, with room for headers below IP's 65,535.
    static let longest = 60_000
    /// The largest datagram that is worth joining with others: what an Ethernet path carries (1500 less 28).
    static let largestPart = 1472

    private(set) var size = 0
    private(set) var bytes = 0

    /// Whether a datagram of this length may follow those that are there.
    func takes(_ length: Int) -> Bool {
        bytes == 0 || length <= size && bytes % size == 0 && bytes + length <= Self.longest
    }

    /// Adds one that it `takes`.
    mutating func add(_ length: Int) {
        if bytes == 0 { size = length }
        bytes += length
    }
}
