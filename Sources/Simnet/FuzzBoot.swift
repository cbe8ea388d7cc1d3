internal import Boot
internal import Wire

// The TFTP server under arbitrary datagrams of several clients, and those of clients that are almost right. The input is a list of
// operations:
//
//     0, 1   a datagram of any bytes, to any port        4   time passes
//     2      a read request with options                 5   files become shorter, or longer
//     3      an acknowledgment of what was sent last     6   what is to be sent is taken
//                                                        7   a job of the disk's is done, not always the first
//
// What must hold: no transfer, no job and no answer more than there may be, no answer longer than a packet of the link, every file closed
// once, not while it is read; and when nobody says anything, all ends.

package enum FuzzBoot {
    private static let mtu = 600

    /// Runs an input. What was violated; empty is good.
    package static func run(_ bytes: [UInt8]) -> [String] {
        var input = FuzzInput(bytes)
        var server = TFTPServer(mtu: mtu, seed: UInt64(input.word()))
        var jobs: [TFTPServer.Job] = []
        var opened: Set<Int> = []
        var next = 0
        var size = 3000
        var now: Int64 = 0
        var last: TFTPServer.Answer?
        var found: [String] = []

        func work(_ which: Int) {
            jobs += server.takeJobs()
            guard !jobs.isEmpty else { return }
            switch jobs.remove(at: which % jobs.count) {
            case .open(let port, let name):
                next += 1
                let isThere = name.utf8.first != 0x78
                if isThere { opened.insert(next) }
                server.opened(port, isThere ? (next, size) : nil, now: now)
            case .read(let port, let file, let offset, let count):
                if !opened.contains(file) { found.append("a file is read that is not open") }
                if offset < 0 || count < 0 || count > 32 * mtu { found.append("\(count) bytes from \(offset)") }
                server.read(port, [UInt8](repeating: 7, count: max(0, min(count, size - offset))), now: now)
            case .close(let file):
                if opened.remove(file) == nil { found.append("a file is closed twice") }
            }
        }
        func take() {
            let answers = server.takeAnswers()
            // Windows have 32 blocks at most.
            if answers.count > 32 * TFTPServer.capacity { found.append("\(answers.count) answers wait") }
            for answer in answers {
                let header = answer.peer.client.address.isV4 ? 28 : 48
                if answer.bytes.count < 4 || answer.bytes.count + header > mtu {
                    found.append("an answer of \(answer.bytes.count) bytes")
                }
            }
            last = answers.last ?? last
        }
        while !input.isEmpty, found.isEmpty {
            let operation = input.byte()
            let peer = peer(operation >> 4)
            switch operation & 7 {
            case 0, 1:
                let port = operation & 8 == 0 ? TFTPServer.port : last?.port ?? input.word()
                let datagram = input.take(Int(input.word() & 0x3ff))
                _ = server.receive(datagram.raw, from: peer, port: port, now: now)
            case 2:
                let request = request(&input)
                _ = server.receive(request.raw, from: peer, port: TFTPServer.port, now: now)
            case 3:
                guard let last else { break }
                // What it sent last, or beside it; of its own client, or another.
                var block = last.bytes.count >= 4 && last.bytes[1] == 3 ? last.bytes.raw.u16(at: 2) : 0
                if operation & 8 != 0 { block &-= input.word() & 0x3f }
                let acknowledgment = [0, 4, UInt8(block >> 8), UInt8(block & 255)]
                _ = server.receive(
                    acknowledgment.raw, from: operation >> 4 == 15 ? peer : last.peer, port: last.port, now: now)
            case 4:
                now += input.choice([1_000_000, 1_000_000_000, 300_000_000_000])
                server.advance(to: now)
            case 5: size = input.choice([0, Int(input.word()), 1 << 25, 512])
            case 6: take()
            default: work(Int(input.byte()))
            }
            if operation & 8 != 0 {
                work(0)
                take()
            }
            if server.count > TFTPServer.capacity { found.append("\(server.count) transfers") }
            jobs += server.takeJobs()
            let busy = jobs.count { if case .close = $0 { false } else { true } }
            if busy > server.count { found.append("\(busy) jobs for \(server.count) transfers") }
        }
        // The longest time-out, as often as it is tried.
        for _ in 0..<12 {
            now += 256_000_000_000
            server.advance(to: now)
            jobs += server.takeJobs()
            while !jobs.isEmpty { work(0) }
            take()
        }
        if server.count > 0 || server.nextDeadline != .max { found.append("\(server.count) transfers never end") }
        if !opened.isEmpty { found.append("\(opened.count) files stay open") }
        return found
    }

    private static func peer(_ number: UInt8) -> TFTPPeer {
        let address = number & 1 == 0 ? IPAddress(v4: 0x0a00_0202) : IPAddress(hi: 0xfd00 << 48, lo: 2)
        return TFTPPeer(
            client: Endpoint(address: address, port: 2000 + UInt16(number >> 2)),
            mac: MACAddress(rawValue: 0x5254_0000_0001 + UInt64(number >> 1 & 1)), local: address)
    }

    private static func request(_ input: inout FuzzInput) -> [UInt8] {
        var words = [input.choice(["boot", "x", ""]), input.choice(["octet", "OCTET", "octet", "netascii"])]
        for _ in 0..<Int(input.byte() & 7) {
            words.append(input.choice(["blksize", "windowsize", "timeout", "tsize", "BlkSize", "multicast"]))
            words.append(input.choice(["0", "8", "\(input.word())", "32", "1", "65464", "18446744073709551616", "-1"]))
        }
        return words.reduce(into: [0, 1]) { $0 += Array($1.utf8) + [0] }
    }
}
