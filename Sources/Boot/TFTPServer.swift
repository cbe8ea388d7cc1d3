package import Wire

// A read-only TFTP server without I/O: it is given datagrams and the time, and says what to send. Files are somebody else's (`BootFiles`).
//
// Life of a transfer. A read request opens the file and gets a port of its own. With options the answer is OACK, which the client
// acknowledges as block 0, else the first blocks. Up to `windowSize` blocks are under way (RFC 7440); an acknowledgment of any of them makes
// the blocks behind it the next window, so one that was lost is sent again from there. Silence sends the window again after the time-out, five times
// in all. The transfer ends when the last block, shorter than the others, is acknowledged, or with the client's error.
//
// A repeated acknowledgment sends nothing when the window is one block (the sorcerer's apprentice, RFC 1123 section 4.2.3.1). Block numbers
// wrap to 0. A request that is repeated begins anew, and what there was for the same client's port ends.
//
// Limits: `capacity` transfers, `perStation` of one MAC address; a further one is told to try again. Answers that wait to be taken are at most a
// whole window of every transfer: a client that asks for more before they have left waits for its time-out, as if they were lost. The window is at most `windowLimit` blocks, a block
// no longer than fits a packet of the link, so that nothing is fragmented.

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

/// Files by name. The numbers of open ones are the implementer's.
package protocol BootFiles {
    /// nil when there is no such file.
    mutating func open(_ name: String) -> (file: Int, size: Int)?
    /// `count` bytes from `offset`; fewer when the file has become shorter.
    mutating func read(_ file: Int, offset: Int, count: Int) -> [UInt8]
    mutating func close(_ file: Int)
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

    private struct Transfer {
        let peer: TFTPPeer
        let port: UInt16
        let file: Int
        let size: Int
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
        var due: Int64 = 0

        var blocks: Int { size / blockSize + 1 }
    }

    private let mtu: Int
    private var transfers: [UInt16: Transfer] = [:]
    private var nextPort: UInt16
    private var answers: [Answer] = []

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

    /// A datagram for `port`.
    /// - Returns: false when nobody is there.
    package mutating func receive<F: BootFiles>(
        _ bytes: RawSpan, from peer: TFTPPeer, port: UInt16, files: inout F, now: Int64
    ) -> Bool {
        let message = TFTPMessage(bytes)
        guard port == Self.port else {
            guard transfers[port] != nil else { return false }
            // RFC 1350 section 4: another's datagram does not disturb the transfer.
            guard transfers[port]?.peer == peer else {
                refuse(.unknownTransfer, peer, port)
                return true
            }
            switch message {
            case .acknowledgment(let block): acknowledged(block, port, &files, now)
            case .error: end(port, &files)
            default: break
            }
            return true
        }
        switch message {
        case .read(let request): begin(request, peer, &files, now)
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

    private mutating func begin<F: BootFiles>(
        _ request: TFTPRequest, _ peer: TFTPPeer, _ files: inout F, _ now: Int64
    ) {
        // The answer was lost, or the client has begun anew: what there was is no more.
        for transfer in transfers.values where transfer.peer == peer { end(transfer.port, &files) }
        guard request.mode == "octet", transfers.count < Self.capacity,
            transfers.values.count(where: { $0.peer.mac == peer.mac }) < Self.perStation
        else { return refuse(.other, peer, Self.port) }
        guard let (file, size) = files.open(request.name) else { return refuse(.notFound, peer, Self.port) }
        while transfers[nextPort] != nil { advancePort() }
        var transfer = Transfer(peer: peer, port: nextPort, file: file, size: size)
        advancePort()

        var options: [(String, Int)] = []
        if let asked = request.blockSize {
            // IP, UDP and four bytes of ours.
            let room = max(8, mtu - (peer.client.address.isV4 ? 20 : 40) - 12)
            transfer.blockSize = min(asked, room)
            options.append(("blksize", transfer.blockSize))
        }
        if let asked = request.timeout {
            transfer.timeout = asked
            options.append(("timeout", asked))
        }
        if request.wantsSize { options.append(("tsize", size)) }
        if let asked = request.windowSize {
            transfer.windowSize = min(asked, Self.windowLimit)
            options.append(("windowsize", transfer.windowSize))
        }
        if !options.isEmpty {
            transfer.oack = options.reduce(into: [0, 6]) { bytes, option in
                bytes += Array(option.0.utf8) + [0] + Array("\(option.1)".utf8) + [0]
            }
        }
        transfers[transfer.port] = transfer
        send(transfer.port, &files, now)
    }

    private mutating func advancePort() { nextPort = nextPort == .max ? Self.firstPort : nextPort + 1 }

    /// Sends the window, or what stands before it.
    private mutating func send<F: BootFiles>(_ port: UInt16, _ files: inout F, _ now: Int64) {
        guard var transfer = transfers[port] else { return }
        defer { transfers[port] = transfer }
        transfer.due = now + Int64(transfer.timeout) * 1_000_000_000
        if let oack = transfer.oack {
            guard hasRoom else { return }
            answers.append(Answer(peer: transfer.peer, port: port, bytes: oack))
            return
        }
        transfer.sent = min(transfer.acknowledged + transfer.windowSize, transfer.blocks)
        for block in transfer.acknowledged + 1...transfer.sent {
            guard hasRoom else { return }
            let offset = (block - 1) * transfer.blockSize
            let wanted = min(transfer.blockSize, transfer.size - offset)
            var bytes: [UInt8] = [0, 3, UInt8(block >> 8 & 255), UInt8(block & 255)]
            let data = wanted > 0 ? files.read(transfer.file, offset: offset, count: wanted) : []
            guard data.count == wanted else {
                // It has become shorter meanwhile: a short block would look like a whole file.
                refuse(.other, transfer.peer, port)
                transfer.triesLeft = 0
                transfer.due = now
                return
            }
            bytes += data
            answers.append(Answer(peer: transfer.peer, port: port, bytes: bytes))
        }
    }

    private mutating func acknowledged<F: BootFiles>(
        _ block: UInt16, _ port: UInt16, _ files: inout F, _ now: Int64
    ) {
        guard let transfer = transfers[port] else { return }
        if transfer.oack != nil {
            guard block == 0 else { return }
            transfers[port]?.oack = nil
        } else {
            let ahead = Int(block &- UInt16(truncatingIfNeeded: transfer.acknowledged))
            guard ahead <= transfer.sent - transfer.acknowledged, ahead > 0 || transfer.windowSize > 1 else { return }
            transfers[port]?.acknowledged += ahead
            if transfer.acknowledged + ahead == transfer.blocks { return end(port, &files) }
        }
        transfers[port]?.triesLeft = Self.tries
        send(port, &files, now)
    }

    private mutating func end<F: BootFiles>(_ port: UInt16, _ files: inout F) {
        if let transfer = transfers.removeValue(forKey: port) { files.close(transfer.file) }
    }

    /// Sends again what was not acknowledged in time.
    package mutating func advance<F: BootFiles>(to now: Int64, files: inout F) {
        for transfer in transfers.values where transfer.due <= now {
            guard transfer.triesLeft > 1 else {
                end(transfer.port, &files)
                continue
            }
            transfers[transfer.port]?.triesLeft -= 1
            send(transfer.port, &files, now)
        }
    }
}
