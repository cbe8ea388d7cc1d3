package import Wire

// A read-only TFTP server without I/O: it is given datagrams and the time, and says what to send and what to do with files. Those jobs are
// somebody else's, and may take as long as a disk takes (`takeJobs`, `opened`, `read`).
//
// Life of a transfer. A read request gets a port of its own, and its file is opened. With options the answer is OACK, which the client
// acknowledges as block 0, else the first blocks. Up to `windowSize` blocks are under way (RFC 7440), read in one job; an acknowledgment of any
// of them makes the blocks behind it the next window, so one that was lost is sent again from there. Silence sends the window again after the
// time-out, five times in all. The transfer ends when the last block, shorter than the others, is acknowledged, or with the client's error.
//
// A repeated acknowledgment sends nothing when the window is one block (the sorcerer's apprentice, RFC 1123 section 4.2.3.1). Block numbers
// wrap to 0. A request that is repeated begins anew, and what there was for the same client's port ends.
//
// While a disk is slow. A transfer has one job at a time, and no time-out meanwhile. What is acknowledged before its read is done makes the read be
// done again from there; a request that is repeated before anything was sent is not heard twice. A transfer that ends keeps its place until its
// job is done, so there are never more jobs than places, and no file is closed while it is read.
//
// Limits: `capacity` transfers, `perStation` of one MAC address; a further one is told to try again. Answers that wait to be taken are at most a
// whole window of every transfer: a client that asks for more before they have left waits for its time-out, as if they were lost. The window is
// at most `windowLimit` blocks, a block no longer than fits a packet of the link, so that nothing is fragmented.

/// Where a machine's datagram came from, and which address of ours it was for.
package struct TFTPPeer: Hashable, Sendable {
    package var client: Endpoint
    package var mac: MACAddress
    package var local: IPAddress

    package init(client: Endpoint, mac: MACAddress, local: IPAddress) {
        self.client = client
        self.mac = mac
        self.local = local
    }
}

package struct TFTPServer: ~Copyable {
    package static let port: UInt16 = 69
    /// Transfers have ports from here on.
    package static let firstPort: UInt16 = 49_152
    package static let capacity = 64
    package static let perStation = 4
    static let windowLimit = 32
    static let mostAnswers = capacity * windowLimit
    static let tries = 5
    static let defaultTimeout = 1

    package struct Answer: Equatable, Sendable {
        package var peer: TFTPPeer
        package var port: UInt16
        package var bytes: [UInt8]
    }

    /// What is to be done with files. A transfer is known by its port; files have the implementer's numbers.
    package enum Job: Equatable, Sendable {
        /// To be answered by `opened`.
        case open(port: UInt16, name: String)
        /// To be answered by `read`.
        case read(port: UInt16, file: Int, offset: Int, count: Int)
        case close(file: Int)
    }

    private struct Transfer {
        let peer: TFTPPeer
        let port: UInt16
        let request: TFTPRequest
        var file: Int?
        var size = 0
        var isOpening = true
        /// How many blocks there are before those that are being read.
        var reading: Int?
        /// Its job is all that is left.
        var hasEnded = false
        var blockSize = 512
        var windowSize = 1
        /// Seconds.
        var timeout = TFTPServer.defaultTimeout
        /// To be acknowledged as block 0.
        var oack: [UInt8]?
        /// Blocks acknowledged, and sent; counted from 1, without wrapping.
        var acknowledged = 0
        var sent = 0
        var triesLeft = TFTPServer.tries
        var due = Int64.max

        var isBusy: Bool { isOpening || reading != nil }
        var blocks: Int { size / blockSize + 1 }
        /// The bytes of the file that the next window has.
        var window: Range<Int> {
            acknowledged * blockSize..<min((acknowledged + windowSize) * blockSize, size)
        }
    }

    private let mtu: Int
    private var transfers: [UInt16: Transfer] = [:]
    private var nextPort: UInt16
    private var answers: [Answer] = []
    private var jobs: [Job] = []

    /// - Parameters:
    ///   - mtu: of the link.
    ///   - seed: from which port on transfers are numbered.
    package init(mtu: Int, seed: UInt64) {
        self.mtu = mtu
        nextPort = Self.firstPort + UInt16(seed % UInt64(UInt16.max - Self.firstPort))
    }

    package var count: Int { transfers.count }
    /// When `advance` has something to do; nanoseconds, `.max` for never.
    package var nextDeadline: Int64 { transfers.values.map(\.due).min() ?? .max }

    /// What is to be sent, since the last call.
    package mutating func takeAnswers() -> [Answer] {
        defer { answers = [] }
        return answers
    }

    /// What is to be done, since the last call.
    package mutating func takeJobs() -> [Job] {
        defer { jobs = [] }
        return jobs
    }

    /// A datagram for `port`.
    /// - Returns: false when nobody is there.
    package mutating func receive(_ bytes: RawSpan, from peer: TFTPPeer, port: UInt16, now: Int64) -> Bool {
        let message = TFTPMessage(bytes)
        guard port == Self.port else {
            guard let transfer = transfers[port], !transfer.hasEnded else { return false }
            // RFC 1350 section 4: another's datagram does not disturb the transfer.
            guard transfer.peer == peer else {
                refuse(.unknownTransfer, peer, port)
                return true
            }
            switch message {
            case .acknowledgment(let block): acknowledged(block, port, now)
            case .error: end(port)
            default: break
            }
            return true
        }
        switch message {
        case .read(let request): begin(request, peer)
        case .write: refuse(.accessViolation, peer, port)
        case .malformed, .acknowledgment: refuse(.illegal, peer, port)
        case .error: break
        }
        return true
    }

    private mutating func refuse(_ error: TFTPError, _ peer: TFTPPeer, _ port: UInt16) {
        if hasRoom { answers.append(Answer(peer: peer, port: port, bytes: error.bytes)) }
    }

    private var hasRoom: Bool { answers.count < Self.mostAnswers }

    // MARK: A transfer

    private mutating func begin(_ request: TFTPRequest, _ peer: TFTPPeer) {
        for transfer in transfers.values where transfer.peer == peer && !transfer.hasEnded {
            if transfer.isBusy, transfer.sent == 0, transfer.request == request { return }
            // The answer was lost, or the client has begun anew: what there was is no more.
            end(transfer.port)
        }
        guard request.mode == "octet", transfers.count < Self.capacity,
            transfers.values.count(where: { $0.peer.mac == peer.mac }) < Self.perStation
        else { return refuse(.other, peer, Self.port) }
        while transfers[nextPort] != nil { advancePort() }
        transfers[nextPort] = Transfer(peer: peer, port: nextPort, request: request)
        jobs.append(.open(port: nextPort, name: request.name))
        advancePort()
    }

    /// A job to open is done: nil when there is no such file.
    package mutating func opened(_ port: UInt16, _ opened: (file: Int, size: Int)?, now: Int64) {
        guard var transfer = transfers[port], transfer.isOpening else { return }
        transfer.isOpening = false
        transfer.file = opened?.file
        transfer.size = opened?.size ?? 0
        transfers[port] = transfer
        guard opened != nil, !transfer.hasEnded else {
            if !transfer.hasEnded { refuse(.notFound, transfer.peer, Self.port) }
            return end(port)
        }
        let request = transfer.request
        var options: [(String, Int)] = []
        if let asked = request.blockSize {
            // IP, UDP and four bytes of ours.
            let room = max(8, mtu - (transfer.peer.client.address.isV4 ? 20 : 40) - 12)
            transfer.blockSize = min(asked, room)
            options.append(("blksize", transfer.blockSize))
        }
        if let asked = request.timeout {
            transfer.timeout = asked
            options.append(("timeout", asked))
        }
        if request.wantsSize { options.append(("tsize", transfer.size)) }
        if let asked = request.windowSize {
            transfer.windowSize = min(asked, Self.windowLimit)
            options.append(("windowsize", transfer.windowSize))
        }
        if !options.isEmpty {
            transfer.oack = options.reduce(into: [0, 6]) { bytes, option in
                bytes += Array(option.0.utf8) + [0] + Array("\(option.1)".utf8) + [0]
            }
        }
        transfers[port] = transfer
        send(port, now)
    }

    private mutating func advancePort() { nextPort = nextPort == .max ? Self.firstPort : nextPort + 1 }

    /// Sends the window, once it has been read, or what stands before it.
    private mutating func send(_ port: UInt16, _ now: Int64) {
        guard var transfer = transfers[port], let file = transfer.file, !transfer.isBusy else { return }
        transfer.due = now + Int64(transfer.timeout) * 1_000_000_000
        defer { transfers[port] = transfer }
        guard hasRoom else { return }
        if let oack = transfer.oack {
            answers.append(Answer(peer: transfer.peer, port: port, bytes: oack))
            return
        }
        transfer.reading = transfer.acknowledged
        transfer.due = .max
        let bytes = transfer.window
        jobs.append(.read(port: port, file: file, offset: bytes.lowerBound, count: bytes.count))
    }

    /// A job to read is done: with fewer bytes than it asked for when the file has become shorter.
    package mutating func read(_ port: UInt16, _ bytes: [UInt8], now: Int64) {
        guard var transfer = transfers[port], let first = transfer.reading else { return }
        transfer.reading = nil
        transfer.due = now + Int64(transfer.timeout) * 1_000_000_000
        transfers[port] = transfer
        if transfer.hasEnded { return end(port) }
        guard first == transfer.acknowledged else { return send(port, now) }
        guard bytes.count == transfer.window.count else {
            // A short block would look like a whole file.
            refuse(.other, transfer.peer, port)
            return end(port)
        }
        let last = min(first + transfer.windowSize, transfer.blocks)
        transfers[port]?.sent = last
        for block in first + 1...last {
            guard hasRoom else { return }
            let start = (block - 1 - first) * transfer.blockSize
            let data = bytes[start..<min(start + transfer.blockSize, bytes.count)]
            answers.append(
                Answer(
                    peer: transfer.peer, port: port, bytes: [0, 3, UInt8(block >> 8 & 255), UInt8(block & 255)] + data))
        }
    }

    private mutating func acknowledged(_ block: UInt16, _ port: UInt16, _ now: Int64) {
        guard let transfer = transfers[port] else { return }
        if transfer.oack != nil {
            guard block == 0 else { return }
            transfers[port]?.oack = nil
        } else {
            let ahead = Int(block &- UInt16(truncatingIfNeeded: transfer.acknowledged))
            guard ahead <= transfer.sent - transfer.acknowledged, ahead > 0 || transfer.windowSize > 1 else { return }
            transfers[port]?.acknowledged += ahead
            if transfer.acknowledged + ahead == transfer.blocks { return end(port) }
        }
        transfers[port]?.triesLeft = Self.tries
        send(port, now)
    }

    private mutating func end(_ port: UInt16) {
        guard let transfer = transfers[port] else { return }
        guard !transfer.isBusy else {
            transfers[port]?.hasEnded = true
            return
        }
        transfers[port] = nil
        if let file = transfer.file { jobs.append(.close(file: file)) }
    }

    /// Ends all transfers.
    package mutating func endAll() {
        for port in transfers.keys { end(port) }
    }

    /// Sends again what was not acknowledged in time.
    package mutating func advance(to now: Int64) {
        for transfer in transfers.values where transfer.due <= now && !transfer.isBusy {
            guard transfer.triesLeft > 1 else {
                end(transfer.port)
                continue
            }
            transfers[transfer.port]?.triesLeft -= 1
            send(transfer.port, now)
        }
    }
}
