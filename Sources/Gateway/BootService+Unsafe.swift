internal import Boot
internal import CHost
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

// What machines boot from: the directory of `--tftp`, at the gateway's address.
//
//   machine, UDP 69 and up ─▶ core ─▶ receive ─▶ TFTPServer (module Boot, no I/O) ─▶ answers, given at the turn's end
//                                                    │ ▲
//                                               jobs ▼ │ results, in a later turn
//                                              libuv's thread pool: open, read
//   machine, TCP 80 ────────▶ core ─▶ serve ───▶ BootHTTP, by a socket pair
//
// A slow disk holds up its readers alone: neither frames nor HTTP, which has a thread of its own. What the pool has under way is at most a job of
// each transfer. When all of its threads wait for one disk, other files wait, too, the lease file among them.
//
// Answers wait for the turn's end because no call of `Outside` may call back into the core.

@safe
final class BootService {
    private let directory: BootDirectory
    private let loop: EventLoop
    private var tftp: TFTPServer
    private let http: BootHTTP
    private var timer: DeadlineTimer!
    private var box: UnsafeMutablePointer<Unmanaged<BootService>?>
    private let joinsDatagrams: Bool
    /// Jobs in the pool.
    private var underWay = 0
    private var isClosed = false

    init(directory path: String, loop: EventLoop, mtu: Int, seed: UInt64, joinsDatagrams: Bool) throws {
        directory = try BootDirectory(path: path)
        tftp = TFTPServer(mtu: mtu, seed: seed)
        do {
            http = try BootHTTP(directory: directory.fd)
        } catch {
            Glibc.close(directory.fd)
            throw error
        }
        self.joinsDatagrams = joinsDatagrams
        self.loop = loop
        unsafe box = .allocate(capacity: 1)
        unsafe box.initialize(to: nil)
        timer = unsafe DeadlineTimer(
            Timer(loop: loop, context: UnsafeMutableRawPointer(box), token: 0, callback: onTimer))
        unsafe box.pointee = Unmanaged.passUnretained(self)
        loop.startPool()
    }

    deinit { unsafe box.deallocate() }

    /// Files are closed when the loop has been closed.
    func close() {
        timer.close()
        http.close()
        isClosed = true
        tftp.endAll()
        settle()
    }

    /// A datagram for a port of the gateway. The bytes are only read during the call.
    /// - Returns: false when nobody is at the port.
    func receive(_ bytes: RawSpan, from client: GuestPort) -> Bool {
        let now = monotonicNanoseconds()
        let peer = TFTPPeer(client: client.guest, mac: client.mac, local: client.local.address)
        let isHeard = tftp.receive(bytes, from: peer, port: client.local.port, now: now)
        settle()
        return isHeard
    }

    /// A machine's connection to port 80: our end of a socket pair. The descriptor is ours now.
    func serve(stream fd: Int32) { http.serve(fd) }

    /// Adds what this turn gave rise to.
    func endTurn(_ answers: inout AnswerBatch) {
        for answer in tftp.takeAnswers() {
            let local = Endpoint(address: answer.peer.local, port: answer.port)
            let client = GuestPort(guest: answer.peer.client, local: local, mac: answer.peer.mac)
            answers.append(answer.bytes, for: client, joins: joinsDatagrams)
        }
    }

    fileprivate func timeCame() {
        timer.fired()
        tftp.advance(to: monotonicNanoseconds())
        settle()
    }

    // MARK: Files

    /// Has done what the server asks for, and waits until it has to be told the time.
    private func settle() {
        for job in tftp.takeJobs() {
            switch job {
            case .open(let port, let name):
                let directory = directory.fd
                offload({ BootDirectory.open(name, beneath: directory) }) { service, opened in
                    service.tftp.opened(
                        port, opened.map { (Int($0.file), $0.size) }, now: monotonicNanoseconds())
                }
            case .read(let port, let file, let offset, let count):
                offload({ BootDirectory.read(Int32(file), offset: offset, count: count) }) { service, bytes in
                    service.tftp.read(port, bytes, now: monotonicNanoseconds())
                }
            case .close(let file): Glibc.close(Int32(file))
            }
        }
        if !isClosed {
            timer.arm(for: tftp.nextDeadline, now: monotonicNanoseconds())
        } else if underWay == 0 {
            Glibc.close(directory.fd)
        }
    }

    private func offload<Result: Sendable>(
        _ work: @escaping @Sendable () -> Result, then after: @escaping (BootService, Result) -> Void
    ) {
        underWay += 1
        loop.offload(work) { result in
            self.underWay -= 1
            after(self, result)
            self.settle()
        }
    }
}

private let onTimer: TimerCallback = { context, _ in
    unsafe context.assumingMemoryBound(to: Unmanaged<BootService>?.self).pointee?.takeUnretainedValue().timeCame()
}
