internal import Boot
internal import CHost
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

// What machines boot from: the directory of `--tftp`, at the gateway's address.
//
//   machine, UDP 69 and up ─▶ core ─▶ receive ─▶ TFTPServer (module Boot, no I/O) ─▶ answers, given at the turn's end
//   machine, TCP 80 ────────▶ core ─▶ serve ───▶ BootHTTP, by a socket pair
//
// Answers wait for the turn's end because no call of `Outside` may call back into the core.

@safe
final class BootService {
    private var directory: BootDirectory
    private var tftp: TFTPServer
    private let http: BootHTTP
    private var timer: DeadlineTimer!
    private var box: UnsafeMutablePointer<Unmanaged<BootService>?>
    private let joinsDatagrams: Bool

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
        unsafe box = .allocate(capacity: 1)
        unsafe box.initialize(to: nil)
        timer = unsafe DeadlineTimer(
            Timer(loop: loop, context: UnsafeMutableRawPointer(box), token: 0, callback: onTimer))
        unsafe box.pointee = Unmanaged.passUnretained(self)
    }

    deinit { unsafe box.deallocate() }

    func close() {
        timer.close()
        http.close()
        Glibc.close(directory.fd)
    }

    /// A datagram for a port of the gateway. The bytes are only read during the call.
    /// - Returns: false when nobody is at the port.
    func receive(_ bytes: RawSpan, from client: GuestPort) -> Bool {
        let now = monotonicNanoseconds()
        let peer = TFTPPeer(client: client.guest, mac: client.mac, local: client.local.address)
        let isHeard = tftp.receive(bytes, from: peer, port: client.local.port, files: &directory, now: now)
        timer.arm(for: tftp.nextDeadline, now: now)
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
        let now = monotonicNanoseconds()
        tftp.advance(to: now, files: &directory)
        timer.arm(for: tftp.nextDeadline, now: now)
    }
}

private let onTimer: TimerCallback = { context, _ in
    unsafe context.assumingMemoryBound(to: Unmanaged<BootService>?.self).pointee?.takeUnretainedValue().timeCame()
}
