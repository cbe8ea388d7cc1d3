internal import Glibc
internal import Logging
internal import Netstack
internal import Resolver
internal import Uv
internal import Wire

// What the DHCP servers' leases mean to the rest of a network:
//
//   core ── leaseChanged ──▶ the switch's bindings    nobody else may use the address
//                            names                    NAME.vm.internal
//                            the file                 at the first change, and then a second after it was last written at the earliest, by a
//                                                     timer; on libuv's thread pool, so that a slow disk holds up nobody
//
// A name that is another's is said once.

@safe
final class LeaseBook {
    private static let pause: Int64 = 1_000_000_000

    private let loop: EventLoop
    private let file: LeaseFile?
    private let names: NameService
    private let machines: VirtualSwitch?
    private let logger: Logger
    private var leases: [IPAddress: Lease] = [:]
    private var timer: DeadlineTimer!
    private var box: UnsafeMutablePointer<Unmanaged<LeaseBook>?>
    /// When the file may be written again, whether it has to be, and whether it is being written.
    private var mayWriteAt: Int64 = 0
    private var hasChanged = false
    private var isWriting = false
    private var isClosed = false
    private var saidFailure = false
    private var saidNames: Set<String> = []

    init(
        _ configuration: NetworkConfiguration, loop: EventLoop, names: NameService, machines: VirtualSwitch?,
        logger: Logger
    ) throws {
        self.loop = loop
        file = configuration.leaseFile.map { LeaseFile(path: $0) }
        self.names = names
        self.machines = machines
        self.logger = logger
        unsafe box = .allocate(capacity: 1)
        unsafe box.initialize(to: nil)
        timer = unsafe DeadlineTimer(
            Timer(loop: loop, context: UnsafeMutableRawPointer(box), token: 0, callback: onTimer))
        if configuration.namesMachines {
            var known = MachineNames()
            for host in configuration.core.leases.hosts {
                known.fix(host.name, mac: host.mac, addresses: [host.v4, host.v6].compactMap { $0 })
            }
            names.machines = known
        }
        unsafe box.pointee = Unmanaged.passUnretained(self)
    }

    deinit { unsafe box.deallocate() }

    /// Reads the file and hands its leases to `take`, which says whether one is good. Writes the file, so that one that cannot
    /// be written is known at once.
    func restore(_ take: (Lease) -> Bool) throws {
        guard let file else { return }
        let offset = Self.clockOffset()
        for record in try file.read() {
            let (end, overflow) = record.end.multipliedReportingOverflow(by: 1_000_000_000)
            let hasEnd = record.end != LeaseFile.never && !overflow
            let expires = hasEnd ? Instant(nanoseconds: end &- offset) : .never
            if expires.nanoseconds <= monotonicNanoseconds() { continue }
            let lease = Lease(
                address: record.address, mac: record.mac, association: record.association, name: record.name,
                expires: expires)
            if !take(lease) {
                logger.notice("the lease of \(record.address) by \(record.mac) is of another network, and forgotten")
            }
        }
        try file.write(records())
        hasChanged = false
        loop.startPool()
    }

    /// What has changed is in the file when the loop has been closed.
    func close() {
        timer.close()
        isClosed = true
        if hasChanged { write() }
    }

    // MARK: From the core

    func changed(_ change: LeaseChange) {
        switch change {
        case .granted(let lease):
            leases[lease.address] = lease
            machines?.bindings.lease(lease.address, to: lease.mac, until: lease.expires)
            if names.machines?.leased(lease.address, mac: lease.mac, label: lease.name) == false,
                saidNames.count < 64, saidNames.insert(lease.name).inserted
            {
                logger.notice("the machine \(lease.mac) calls itself \(lease.name), which another machine is called")
            }
        case .ended(let lease):
            leases[lease.address] = nil
            machines?.bindings.release(lease.address)
            names.machines?.ended(lease.address, mac: lease.mac)
        }
        guard file != nil else { return }
        hasChanged = true
        arm()
    }

    func isHeld(_ address: IPAddress, byOtherThan mac: MACAddress, at now: Instant) -> Bool {
        machines?.bindings.isHeld(address, byOtherThan: mac, at: now) ?? false
    }

    /// Where a forwarded port leads now; nil while the machine has no address.
    func guest(of forward: PortForward) -> Endpoint? {
        guard let machine = forward.machine else { return forward.guest }
        let isV4 = forward.guest.address.isV4
        let addresses = MachineNames.name(machine).flatMap { names.machines?.addresses(of: $0) } ?? []
        return addresses.first { $0.isV4 == isV4 }.map { Endpoint(address: $0, port: forward.guest.port) }
    }

    // MARK: The file

    private func arm() {
        guard hasChanged, !isWriting, !isClosed else { return }
        timer.arm(for: mayWriteAt, now: monotonicNanoseconds())
    }

    fileprivate func timeCame() {
        timer.fired()
        // It may have fired early.
        if hasChanged, monotonicNanoseconds() >= mayWriteAt { write() } else { arm() }
    }

    private func write() {
        guard let file, !isWriting else { return }
        hasChanged = false
        isWriting = true
        let records = records()
        loop.offload(
            { () -> LeaseFileUnusable? in
                do throws(LeaseFileUnusable) {
                    try file.write(records)
                    return nil
                } catch {
                    return error
                }
            }, then: { self.wrote($0) })
    }

    private func wrote(_ failure: LeaseFileUnusable?) {
        isWriting = false
        mayWriteAt = monotonicNanoseconds() + Self.pause
        if let failure, !saidFailure { logger.warning("\(failure)") }
        saidFailure = failure != nil
        if isClosed, hasChanged { write() } else { arm() }
    }

    private func records() -> [LeaseFile.Record] {
        let offset = Self.clockOffset()
        return leases.values.map { lease in
            let (end, overflow) = lease.expires.nanoseconds.addingReportingOverflow(offset)
            let hasEnd = lease.expires != .never && !overflow
            return LeaseFile.Record(
                end: hasEnd ? end / 1_000_000_000 : LeaseFile.never, mac: lease.mac, address: lease.address,
                name: lease.name,
                association: lease.association)
        }
    }

    /// From the loop's clock to Unix time, in nanoseconds.
    private static func clockOffset() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec) - monotonicNanoseconds()
    }
}

private let onTimer: TimerCallback = { context, _ in
    unsafe context.assumingMemoryBound(to: Unmanaged<LeaseBook>?.self).pointee?.takeUnretainedValue().timeCame()
}
