internal import CHost
internal import Glibc

// A guest's memory as its monitor shares it: a few regions, each a file of which a stretch is mapped here, at three addresses.
//
//   guest physical    what the guest writes into descriptors
//   user              the monitor's own, in which it names the rings
//   ours              where it is mapped
//
// The guest reads and writes it while we do. What is decided upon is read once and kept; what is copied may be garbage, and then is the
// guest's own loss. A monitor that shrinks a file makes the rest read as zeros (host_vhost_map).
//
// Limits: 64 regions. An address range has to lie within one.

/// The regions of one guest's memory.
@safe
struct GuestMemory: ~Copyable {
    static let mostRegions = 64

    struct Region {
        let guest: UInt64
        let size: UInt64
        let user: UInt64
        /// Where in the file it begins.
        let offset: UInt64
    }

    @safe
    private struct Mapped {
        let region: Region
        let start: UnsafeMutableRawPointer
        var length: Int { Int(region.offset + region.size) }
    }

    private var mapped: [Mapped] = []

    /// Maps one region of a file. False when it overlaps another, is no stretch of the file, or cannot be mapped. The descriptor stays the caller's.
    mutating func add(_ region: Region, fd: Int32) -> Bool {
        let (guestEnd, guestOverflows) = region.guest.addingReportingOverflow(region.size)
        let (userEnd, userOverflows) = region.user.addingReportingOverflow(region.size)
        let (fileEnd, fileOverflows) = region.offset.addingReportingOverflow(region.size)
        guard mapped.count < Self.mostRegions, region.size > 0, !guestOverflows, !userOverflows, !fileOverflows,
            fileEnd <= UInt64(1) << 46,
            !mapped.contains(where: {
                region.guest < $0.region.guest + $0.region.size && $0.region.guest < guestEnd
                    || region.user < $0.region.user + $0.region.size && $0.region.user < userEnd
            })
        else { return false }
        var status = stat()
        guard unsafe fstat(fd, &status) == 0, UInt64(clamping: status.st_size) >= fileEnd,
            let start = unsafe host_vhost_map(fd, Int(fileEnd))
        else { return false }
        unsafe mapped.append(Mapped(region: region, start: start))
        return true
    }

    /// Takes away the region with these addresses. False when there is none.
    mutating func remove(_ region: Region) -> Bool {
        let index = mapped.firstIndex {
            $0.region.guest == region.guest && $0.region.size == region.size && $0.region.user == region.user
        }
        guard let index else { return false }
        let gone = mapped.remove(at: index)
        unsafe host_vhost_unmap(gone.start, gone.length)
        return true
    }

    mutating func removeAll() {
        for one in mapped { unsafe host_vhost_unmap(one.start, one.length) }
        mapped = []
    }

    /// Where `length` bytes at a guest's physical address are; nil when they are not all in one region.
    func guest(_ address: UInt64, _ length: Int) -> UnsafeMutableRawPointer? {
        unsafe find(address, length) { $0.guest }
    }

    /// The same for an address of the monitor's.
    func user(_ address: UInt64, _ length: Int) -> UnsafeMutableRawPointer? {
        unsafe find(address, length) { $0.user }
    }

    @inline(__always)
    private func find(_ address: UInt64, _ length: Int, _ start: (Region) -> UInt64) -> UnsafeMutableRawPointer? {
        for index in mapped.indices {
            let region = mapped[index].region
            guard address >= start(region) else { continue }
            let at = address - start(region)
            if at < region.size, UInt64(length) <= region.size - at {
                return unsafe mapped[index].start + Int(region.offset + at)
            }
        }
        return nil
    }
}
