import Testing
import Wire

@testable import Netstack

@Suite struct ReassemblerTests {
    static let remotes = [Lab.remote4, Lab.remote6]

    /// A UDP datagram of `size` payload bytes to `remote`, from the UDP header on.
    static func datagram(_ remote: IPAddress, _ size: Int, seed: UInt64 = 1) -> [UInt8] {
        var random = Randomness(seed: seed)
        return GuestPacket.udp(
            from: Endpoint(address: Rig.guest(for: remote), port: 5000), to: Endpoint(address: remote, port: 9),
            random.bytes(size))
    }

    static func sent(_ outside: RecordingOutside) -> [[UInt8]] {
        outside.calls.compactMap { if case .sendDatagram(_, _, let bytes, _) = $0 { bytes } else { nil } }
    }

    @Test("any order, any size", arguments: remotes, [9, 16, 1449, 4000, 65_507])
    func order(_ remote: IPAddress, _ size: Int) {
        for seed in UInt64(0)..<9 {
            var rig = Rig()
            var random = Randomness(seed: seed)
            let datagram = Self.datagram(remote, size)
            // Small pieces of small datagrams, large ones of large.
            let unit = size < 100 ? 8 : 8 * Int.random(in: 20...180, using: &random)
            var pieces = Fragmenter.cut(
                datagram, from: Rig.guest(for: remote), to: remote, IPProtocol.udp, unit: unit)
            if seed > 0 { pieces.shuffle(using: &random) }
            // Duplicates are harmless.
            if seed > 6 { pieces.insert(pieces[0], at: Int.random(in: 1...pieces.count - 1, using: &random)) }
            for piece in pieces { rig.send(piece) }
            #expect(Self.sent(rig.outside) == [Array(datagram[8...])], "seed \(seed)")
            #expect(rig.core.counters.dropped == 0, "seed \(seed)")
            #expect(rig.core.reassembler.count == 0 && rig.core.reassembler.byteCount == 0, "seed \(seed)")
        }
    }

    @Test("what the guest cut, the host may cut again", arguments: remotes)
    func dontFragment(_ remote: IPAddress) {
        var rig = Rig()
        for piece in Fragmenter.cut(Self.datagram(remote, 4000), from: Rig.guest(for: remote), to: remote, 17) {
            rig.send(piece)
        }
        let options = rig.outside.calls.compactMap { call -> DatagramOptions? in
            if case .sendDatagram(_, _, _, let options) = call { options } else { nil }
        }
        #expect(options.map(\.dontFragment) == [false])
    }

    @Test func aFragmentInAFragmentIsMalformed() {
        var rig = Rig()
        // Hidden behind destination options, so that only the walk over the whole datagram finds it.
        let inner = [IPProtocol.udp, 0] + be16(1) + be32(5) + [UInt8](repeating: 0, count: 16)
        let options: [UInt8] = [IPProtocol.fragment, 0, 1, 4, 0, 0, 0, 0]
        for piece in Fragmenter.cut(
            options + inner, from: Lab.guest6, to: Lab.remote6, IPProtocol.destinationOptions, unit: 8)
        {
            rig.send(piece)
        }
        #expect(rig.drops(.malformedFragment) == 1)
        #expect(rig.core.reassembler.count == 0)
    }

    struct Piece {
        var range: Range<Int>
        var more = true
        var changed = false
    }

    struct Row: CustomTestStringConvertible {
        var name: String
        var pieces: [Piece]
        var reason: DropReason?
        var completes = false
        var testDescription: String { name }
    }

    /// Of a datagram of 64 bytes.
    static let rows: [Row] = [
        Row(name: "in order", pieces: [Piece(range: 0..<32), Piece(range: 32..<64, more: false)], completes: true),
        Row(
            name: "exact duplicate",
            pieces: [Piece(range: 0..<32), Piece(range: 0..<32), Piece(range: 32..<64, more: false)],
            completes: true),
        Row(
            name: "duplicate inside another",
            pieces: [Piece(range: 0..<32), Piece(range: 8..<24), Piece(range: 32..<64, more: false)],
            completes: true),
        Row(
            name: "duplicate with other bytes",
            pieces: [Piece(range: 0..<32), Piece(range: 0..<32, changed: true), Piece(range: 32..<64, more: false)],
            reason: .overlappingFragment),
        Row(
            name: "overlap by eight", pieces: [Piece(range: 0..<32), Piece(range: 24..<64, more: false)],
            reason: .overlappingFragment),
        Row(
            name: "overlap from the front", pieces: [Piece(range: 32..<64, more: false), Piece(range: 0..<40)],
            reason: .overlappingFragment),
        Row(
            name: "covers another",
            pieces: [Piece(range: 16..<24), Piece(range: 0..<32), Piece(range: 32..<64, more: false)],
            reason: .overlappingFragment),
        Row(
            name: "two ends", pieces: [Piece(range: 24..<40, more: false), Piece(range: 48..<64, more: false)],
            reason: .malformedFragment),
        Row(
            name: "behind the end", pieces: [Piece(range: 24..<40, more: false), Piece(range: 40..<64)],
            reason: .malformedFragment),
        Row(
            name: "end before what came", pieces: [Piece(range: 40..<64), Piece(range: 24..<32, more: false)],
            reason: .malformedFragment),
        Row(name: "not a multiple of eight", pieces: [Piece(range: 0..<31)], reason: .malformedFragment),
        Row(name: "empty", pieces: [Piece(range: 8..<8, more: false)], reason: .malformedFragment),
    ]

    @Test("overlap and contradiction", arguments: rows, remotes)
    func overlap(_ row: Row, _ remote: IPAddress) {
        var rig = Rig()
        let datagram = Self.datagram(remote, 56)
        for piece in row.pieces {
            var bytes = Array(datagram[piece.range])
            if piece.changed { bytes[0] ^= 1 }
            rig.send(
                Fragmenter.piece(
                    bytes, offset: piece.range.lowerBound, more: piece.more, from: Rig.guest(for: remote), to: remote,
                    IPProtocol.udp))
        }
        #expect(Self.sent(rig.outside) == (row.completes ? [Array(datagram[8...])] : []))
        if let reason = row.reason { #expect(rig.drops(reason) > 0) } else { #expect(rig.core.counters.dropped == 0) }
        // A spoiled datagram swallows its own completion, too (RFC 5722).
        if row.reason == .overlappingFragment {
            for piece in Fragmenter.cut(datagram, from: Rig.guest(for: remote), to: remote, IPProtocol.udp, unit: 32) {
                rig.send(piece)
            }
            #expect(Self.sent(rig.outside).isEmpty)
            #expect(rig.core.reassembler.byteCount == 0)
        }
    }

    @Test("nothing ends behind the longest packet", arguments: remotes)
    func oversized(_ remote: IPAddress) {
        var rig = Rig()
        rig.send(
            Fragmenter.piece(
                [UInt8](repeating: 0, count: 64), offset: 65_528, more: false, from: Rig.guest(for: remote), to: remote,
                IPProtocol.udp))
        #expect(rig.drops(.malformedFragment) == 1)
        #expect(rig.core.reassembler.count == 0)
    }

    @Test("time passes", arguments: remotes, [true, false])
    func timeout(_ remote: IPAddress, _ hasFirst: Bool) throws {
        var rig = Rig()
        rig.advance(by: 0)
        _ = rig.outside.takeFrames()
        let datagram = Self.datagram(remote, 4000)
        let pieces = Fragmenter.cut(datagram, from: Rig.guest(for: remote), to: remote, IPProtocol.udp)
        for (index, piece) in pieces.enumerated() where index != (hasFirst ? 1 : 0) { rig.send(piece) }
        #expect(rig.core.reassembler.count == 1)
        let time = remote.isV4 ? Reassembler.timeout4 : Reassembler.timeout6
        #expect(rig.core.reassembler.nextDeadline == rig.now + time)
        rig.advance(by: time)
        #expect(rig.core.reassembler.count == 0 && rig.core.reassembler.byteCount == 0)
        #expect(rig.drops(.fragmentTimeout) == 1)
        let errors = rig.frames().filter { $0.u8(0) == (remote.isV4 ? 11 : 3) && $0.hopLimit != 255 }
        #expect(errors.count == (hasFirst ? 1 : 0))
        if let error = errors.first {
            #expect(error.u8(1) == 1)
            let header = 8 + (remote.isV4 ? 20 : 40)
            #expect(Array(error.payload[header..<header + 100]) == Array(datagram[..<100]))
        }
    }

    @Test func aFloodStaysWithinItsBounds() {
        var rig = Rig()
        let piece = [UInt8](repeating: 1, count: 1448)
        for number in UInt32(0)..<3000 {
            let remote = number % 2 == 0 ? Lab.remote4 : Lab.remote6
            for part in 0..<3 {
                rig.send(
                    Fragmenter.piece(
                        piece, offset: part * 1448, more: true, from: Rig.guest(for: remote), to: remote,
                        IPProtocol.udp, identification: number))
            }
            #expect(rig.core.reassembler.count <= Reassembler.capacity)
            #expect(rig.core.reassembler.byteCount <= Reassembler.maximumBytes)
        }
        #expect(rig.drops(.fragmentsFull) == 3000 - UInt64(Reassembler.capacity))
        // And it still works.
        let datagram = Self.datagram(Lab.remote4, 4000)
        for packet in Fragmenter.cut(
            datagram, from: Lab.guest4, to: Lab.remote4, IPProtocol.udp, identification: 60_000)
        {
            rig.send(packet)
        }
        #expect(Self.sent(rig.outside) == [Array(datagram[8...])])
    }

    @Test func theMemoryIsBoundedByBytesToo() {
        var rig = Rig()
        // Large offload-sized pieces: 64 datagrams of 60 KB would be 3.75 MB.
        let piece = [UInt8](repeating: 1, count: 60_000)
        for number in UInt32(0)..<64 {
            rig.send(
                Fragmenter.piece(
                    piece, offset: 0, more: true, from: Lab.guest4, to: Lab.remote4, IPProtocol.udp,
                    identification: number))
            #expect(rig.core.reassembler.byteCount <= Reassembler.maximumBytes)
        }
        #expect(rig.drops(.fragmentsFull) > 0)
    }

    @Test("random pieces never trap and stay bounded", arguments: UInt64(0)..<16)
    func chaos(_ seed: UInt64) {
        var random = Randomness(seed: seed)
        var rig = Rig()
        for _ in 0..<2000 {
            let remote = Bool.random(using: &random) ? Lab.remote4 : Lab.remote6
            var count = Int.random(in: 0...200, using: &random)
            if UInt8.random(in: 0...9, using: &random) > 0 { count &= ~7 }
            rig.send(
                Fragmenter.piece(
                    random.bytes(count), offset: 8 * Int.random(in: 0...40, using: &random),
                    more: UInt8.random(in: 0...3, using: &random) > 0, from: Rig.guest(for: remote), to: remote,
                    IPProtocol.udp, identification: UInt32.random(in: 0...99, using: &random)))
            if UInt8.random(in: 0...99, using: &random) == 0 {
                rig.advance(by: .milliseconds(Int64.random(in: 0...8000, using: &random)))
            }
            let (held, bytes) = (rig.core.reassembler.count, rig.core.reassembler.byteCount)
            #expect(held <= Reassembler.capacity && bytes <= Reassembler.maximumBytes && bytes >= 0, "seed \(seed)")
        }
        rig.advance(by: .seconds(61))
        #expect(rig.core.reassembler.count == 0 && rig.core.reassembler.byteCount == 0, "seed \(seed)")
    }
}
