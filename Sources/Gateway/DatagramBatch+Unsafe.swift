internal import CHost
internal import Netstack
internal import Wire

// Room for one recvmmsg: up to 32 datagrams of any size, reused for every socket. Pages that no datagram reached are not
// resident.
//
// A flow under load brings datagrams of one size. Those of the size that came last are received one behind the other, so that a
// run of them from one source can go to the guest as one super-frame without a copy:
//
//     packed   | size | size | size | shorter |          run(from:) = 0..<4
//     space    |                                   |     a longer one lies here, whole

@safe
final class DatagramBatch {
    static let count = 32
    private static let stride = 65_536
    /// The largest size that is packed.
    private static let largestPacked = DatagramRun.largestPart

    private let space: UnsafeMutablePointer<UInt8>
    private let packed: UnsafeMutablePointer<UInt8>
    private let records: UnsafeMutablePointer<host_datagram>
    /// Bytes between packed datagrams in the batch at hand, and what is to be expected in the next one.
    private(set) var size = 0
    private var nextSize = 0
    private var filled = 0

    init() {
        unsafe space = .allocate(capacity: Self.count * Self.stride)
        unsafe packed = .allocate(capacity: Self.count * Self.largestPacked)
        unsafe records = .allocate(capacity: Self.count)
        unsafe records.initialize(repeating: host_datagram(), count: Self.count)
    }

    deinit {
        unsafe space.deallocate()
        unsafe packed.deallocate()
        unsafe records.deallocate()
    }

    /// Receives what is there, at most `count`. 0 when nothing is.
    func receive(from fd: Int32) -> Int {
        size = nextSize
        filled = max(
            0, Int(unsafe host_udp_receive(fd, records, packed, size, space, Self.stride, UInt32(Self.count))))
        if filled > 0 {
            // The first one: the last may be a shorter rest.
            let length = unsafe Int(records[0].length)
            nextSize = length <= Self.largestPacked ? length : 0
        }
        return filled
    }

    /// The datagrams from `start` on that may leave in one super-frame: one source, one traffic class, one size, but for a shorter
    /// last one; with `byPath` only if they came to one address. At least one.
    func run(from start: Int, byPath: Bool = false) -> Range<Int> {
        var end = start + 1
        guard size > 0, unsafe records[start].length == size else { return start..<end }
        while end < filled, isLike(start, end), !byPath || path(end) == path(start) {
            end += 1
            if unsafe records[end - 1].length < size { break }
        }
        return start..<end
    }

    private func isLike(_ first: Int, _ other: Int) -> Bool {
        let length = unsafe Int(records[other].length)
        return length > 0 && length <= size && trafficClass(other) == trafficClass(first)
            && source(other) == source(first)
    }

    /// Where a datagram came to, on a socket of `host_udp_serve`.
    func path(_ index: Int) -> DatagramPath {
        let local = unsafe records[index].to
        let address = local.endpoint.address
        return DatagramPath(local: address, interface: address.isLinkLocal && !address.isV4 ? local.scope : 0)
    }

    func source(_ index: Int) -> Endpoint { unsafe records[index].from.endpoint }
    func trafficClass(_ index: Int) -> UInt8 { unsafe records[index].traffic_class }
    func hopLimit(_ index: Int) -> UInt8 { unsafe records[index].hop_limit }

    /// The bytes of one datagram, or of a `run`.
    @_lifetime(borrow self)
    func bytes(_ range: Range<Int>) -> RawSpan {
        let last = unsafe min(Int(records[range.upperBound - 1].length), Self.stride)
        let start = unsafe last > size ? space + range.lowerBound * Self.stride : packed + range.lowerBound * size
        let span = unsafe RawSpan(_unsafeStart: start, byteCount: (range.count - 1) * size + last)
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
