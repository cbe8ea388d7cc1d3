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
//                            the file                 at the first change, and then at most once a second, by a timer
//
// A name that is another's is said once.

@safe
final class LeaseBook {
    private static let pause: Int64 = 1_000_000_000

    private let file: LeaseFile?
    private let names: NameService
    private let machines: VirtualSwitch?
    private let logger: Logger
    private var leases: [IPAddress: Lease] = [:]
    private var timer: DeadlineTimer!
    private var box: UnsafeMutablePointer<Unmanaged<LeaseBook>?>
    /// When the file may be written again, and whether it has to be.
    private var mayWriteAt: Int64 = 0
    private var hasChanged = false
    private var saidFailure = false
    private var saidNames: Set<String> = []

    init(
        _ configuration: NetworkConfiguration, loop: EventLoop, names: NameService, machines: VirtualSwitch?,
        logger: Logger
    ) throws {
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
    }

    func close() {
        if hasChanged { write() }
        timer.close()
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
        timer.arm(for: mayWriteAt, now: monotonicNanoseconds())
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

    fileprivate func timeCame() {
        timer.fired()
        guard hasChanged else { return }
        let now = monotonicNanoseconds()
        // It may have fired early.
        if now < mayWriteAt { timer.arm(for: mayWriteAt, now: now) } else { write() }
    }

    private func write() {
        hasChanged = false
        mayWriteAt = monotonicNanoseconds() + Self.pause
        do {
            try file?.write(records())
            saidFailure = false
        } catch {
            if !saidFailure { logger.warning("\(error)") }
            saidFailure = true
        }
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
