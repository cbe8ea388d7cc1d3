internal import CHost
internal import Netstack
internal import Wire

/// Room for one recvmmsg: up to 32 datagrams of any size, reused for every socket. Pages that no datagram reached are not
/// resident.
@safe
final class DatagramBatch {
    static let count = 32
    private static let stride = 65_536
    private let space: UnsafeMutablePointer<UInt8>
    private let records: UnsafeMutablePointer<host_datagram>

    init() {
        unsafe space = .allocate(capacity: Self.count * Self.stride)
        unsafe records = .allocate(capacity: Self.count)
        unsafe records.initialize(repeating: host_datagram(), count: Self.count)
    }

    deinit {
        unsafe space.deallocate()
        unsafe records.deallocate()
    }

    /// Receives what is there, at most `count`. 0 when nothing is.
    func receive(from fd: Int32) -> Int {
        max(0, Int(unsafe host_udp_receive(fd, records, space, Self.stride, UInt32(Self.count))))
    }

    func source(_ index: Int) -> Endpoint { unsafe records[index].from.endpoint }
    func trafficClass(_ index: Int) -> UInt8 { unsafe records[index].traffic_class }
    func hopLimit(_ index: Int) -> UInt8 { unsafe records[index].hop_limit }

    @_lifetime(borrow self)
    func bytes(_ index: Int) -> RawSpan {
        let span = unsafe RawSpan(
            _unsafeStart: space + index * Self.stride, byteCount: min(Int(records[index].length), Self.stride))
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
