import Gateway
import Glibc

// Several networks side by side: each has an event loop and a thread of its own, and they share nothing. The main thread waits for the
// signal to stop, or for all of them to end.
//
//     main      poll: stop signals, and a bell that each network rings when it ends
//     network   Network.run, stopped by a bell of its own

/// Networks that run until told to stop.
final class NetworkThreads {
    /// One network, on its way to its thread. Nobody else touches it from then on.
    private final class Member {
        let network: Network
        let stop: Bell
        let ended: Bell
        var thread = pthread_t()

        init(_ network: Network, ended: Bell) throws {
            self.network = network
            self.ended = ended
            stop = try Bell()
            try network.watch(fd: stop.heard) { network.stop() }
        }

        func run() {
            network.run()
            ended.ring()
        }
    }

    /// A byte from one thread to another, which waits for it with poll. For as long as the process lives.
    private struct Bell {
        /// Readable once it has been rung.
        let heard: Int32
        private let rung: Int32

        init() throws {
            var ends: [Int32] = [-1, -1]
            let type = Int32(SOCK_STREAM.rawValue) | O_CLOEXEC | O_NONBLOCK
            guard unsafe socketpair(AF_UNIX, type, 0, &ends) == 0 else {
                throw StartFailure("no descriptor is left for another network")
            }
            heard = ends[0]
            rung = ends[1]
        }

        func ring() {
            var byte: UInt8 = 1
            _ = unsafe write(rung, &byte, 1)
        }

        /// How often it has been rung, up to 64 times.
        func count() -> Int {
            var bytes = [UInt8](repeating: 0, count: 64)
            return max(0, unsafe read(heard, &bytes, bytes.count))
        }
    }

    private let ended: Bell
    private let members: [Member]

    init(_ networks: [Network]) throws {
        let ended = try Bell()
        self.ended = ended
        members = try networks.map { try Member($0, ended: ended) }
    }

    /// Runs them until `fd` becomes readable or all have ended.
    func run(until fd: Int32, onceStarted: () -> Void) throws {
        for member in members {
            let context = unsafe Unmanaged.passUnretained(member).toOpaque()
            let code = unsafe pthread_create(
                &member.thread, nil,
                { context in
                    unsafe Unmanaged<Member>.fromOpaque(context!).takeUnretainedValue().run()
                    return nil
                }, context)
            guard code == 0 else { throw StartFailure("no thread is left for another network") }
        }
        onceStarted()
        wait(for: fd)
        for member in members {
            member.stop.ring()
            pthread_join(member.thread, nil)
        }
    }

    private func wait(for fd: Int32) {
        var running = members.count
        while running > 0 {
            var wanted = [
                pollfd(fd: fd, events: Int16(POLLIN), revents: 0),
                pollfd(fd: ended.heard, events: Int16(POLLIN), revents: 0),
            ]
            guard unsafe poll(&wanted, 2, -1) > 0 else { continue }
            if wanted[0].revents != 0 { return }
            if wanted[1].revents != 0 { running -= ended.count() }
        }
    }
}
