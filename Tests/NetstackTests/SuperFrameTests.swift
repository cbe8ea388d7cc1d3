import Testing
import Wire

@testable import Netstack

@Suite struct SuperFrameTests {
    static func offload(_ kind: OffloadHeader.Segmentation, start: UInt16, field: UInt16, size: UInt16 = 1000)
        -> OffloadHeader
    {
        var offload = OffloadHeader()
        offload.needsChecksum = true
        offload.segmentation = kind
        offload.segmentSize = size
        offload.checksumStart = start
        offload.checksumOffset = field
        return offload
    }

    /// An Ethernet frame with an IPv4 header and, at 34, a TCP header of 20 bytes.
    static func frame(_ count: Int, proto: UInt8 = 6) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes[12] = 8
        bytes[14] = 0x45
        bytes[23] = proto
        bytes[46] = 0x50
        return bytes
    }

    @Test func whatIsWholeIsNotCut() {
        #expect(SuperFrame.headerLength(Self.frame(60).rawSpan, OffloadHeader()) == 60)
        #expect(SuperFrame.headerLength(Self.frame(60).rawSpan, Self.offload(.none, start: 34, field: 16)) == 60)
    }

    @Test func headersEndWhereTheirLengthsSay() {
        let tcp = Self.frame(5000)
        #expect(SuperFrame.headerLength(tcp.rawSpan, Self.offload(.tcp4, start: 34, field: 16)) == 54)
        let udp = Self.frame(5000, proto: 17)
        #expect(SuperFrame.headerLength(udp.rawSpan, Self.offload(.udp, start: 34, field: 6)) == 42)
    }

    @Test func liesAreRefused() {
        let tcp = Self.frame(5000)
        for offload in [
            Self.offload(.tcp4, start: 34, field: 6), Self.offload(.tcp4, start: 38, field: 16),
            Self.offload(.udp, start: 34, field: 6),
            Self.offload(.tcp4, start: 34, field: 16, size: 0), Self.offload(.none, start: 5000, field: 16),
            Self.offload(.none, start: 4990, field: 9), Self.offload(.none, start: 0, field: 6),
            Self.offload(.none, start: .max, field: .max),
        ] { #expect(SuperFrame.headerLength(tcp.rawSpan, offload) == nil) }
        var short = tcp
        short[46] = 0x40
        #expect(SuperFrame.headerLength(short.rawSpan, Self.offload(.tcp4, start: 34, field: 16)) == nil)
        var options = tcp
        options[14] = 0x46
        #expect(SuperFrame.headerLength(options.rawSpan, Self.offload(.tcp4, start: 34, field: 16)) == nil)
    }

    /// Whatever passes can be cut without a trap.
    @Test func whateverPassesCanBeCut() {
        var room = [UInt8](repeating: 0, count: 70_000)
        for _ in 0..<20_000 {
            var bytes = Array(Self.frame(200, proto: Bool.random() ? 6 : 17)[..<Int.random(in: 14...200)])
            for _ in 0..<Int.random(in: 0...4) { bytes[Int.random(in: 0..<bytes.count)] = UInt8.random(in: 0...255) }
            let kind: OffloadHeader.Segmentation = [.none, .tcp4, .tcp6, .udp].randomElement() ?? .none
            let offload = Self.offload(
                kind, start: [34, 54, UInt16.random(in: 0...250)].randomElement() ?? 0,
                field: [6, 16, UInt16.random(in: 0...250)].randomElement() ?? 0, size: UInt16.random(in: 0...80))
            guard let split = SuperFrame.headerLength(bytes.rawSpan, offload) else { continue }
            let cutter = SegmentCutter(
                offload, header: bytes.rawSpan.extracting(0..<split),
                payload: bytes.rawSpan.extracting(split..<bytes.count))
            var span = room.mutableSpan
            var raw = unsafe span.mutableBytes
            for index in 0..<cutter.count { cutter.write(index, to: &raw, at: 0) }
        }
    }
}
