import Testing
import Wire

@testable import Netstack

@Suite struct EgressTests {
    static let sizes = [0, 1, 7, 1232, 1233, 1452, 1453, 1472, 1473, 2944, 8191, 30_001, 65_507]
    static let mtus = [1280, 1500, 65_520]

    @Test("a datagram arrives whole or in fragments that make it", arguments: [Lab.remote4, Lab.remote6], mtus)
    func sizes(_ remote: IPAddress, _ mtu: Int) throws {
        let guest = Rig.guest(for: remote)
        for size in Self.sizes {
            var egress = Egress(configuration: Lab.configuration(mtu: mtu), seed: 3)
            var counters = Counters()
            var outside = RecordingOutside()
            var random = Randomness(seed: UInt64(size))
            let payload = random.bytes(size)
            let isSent = egress.sendDatagram(
                payload.rawSpan, from: Endpoint(address: remote, port: 53), to: Endpoint(address: guest, port: 999),
                mac: Lab.guestMAC, trafficClass: 0xb8, counters: &counters, outside: &outside)
            #expect(isSent, "\(size) bytes")
            let header = remote.isV4 ? 28 : 48
            let frames = outside.frames.map { SentFrame($0, mtu: mtu) }
            if header + size <= mtu {
                #expect(frames.count == 1)
                #expect(outside.frames[0].offload.needsChecksum)
                #expect(outside.frames[0].offload.checksumOffset == 6)
            } else {
                #expect(frames.count > 1)
                #expect(outside.frames.allSatisfy { !$0.offload.needsChecksum })
            }
            #expect(frames.allSatisfy { $0.trafficClass == 0xb8 && $0.mac == Lab.guestMAC })
            let whole = try #require(frames.count == 1 ? frames[0] : SentFrame.joined(frames), "\(size) bytes")
            #expect(whole.source == remote && whole.destination == guest && whole.proto == IPProtocol.udp)
            #expect(whole.u16(0) == 53 && whole.u16(2) == 999 && Int(whole.u16(4)) == 8 + size)
            #expect(Array(whole.payload[8...]) == payload, "\(size) bytes")
            #expect(counters.framesSent == UInt64(frames.count))
            #expect(counters.bytesSent == UInt64(outside.frames.reduce(0) { $0 + $1.bytes.count }))
        }
    }

    @Test func aPacketThatMayNotBeFragmentedIsNotSent() {
        var egress = Egress(configuration: Lab.configuration(), seed: 3)
        var counters = Counters()
        var outside = RecordingOutside()
        let isSent = egress.send(
            IPProtocol.udp, from: Lab.remote4, to: Lab.guest4, mac: Lab.guestMAC, dontFragment: true, headerLength: 8,
            payload: [UInt8](repeating: 0, count: 1473).rawSpan, counters: &counters, outside: &outside)
        #expect(!isSent && outside.frames.isEmpty)
    }

    @Test func aBusyLinkEndsThePacketAndIsCounted() {
        var egress = Egress(configuration: Lab.configuration(), seed: 3)
        var counters = Counters()
        var outside = RecordingOutside()
        outside.linkRoom = 2
        let isSent = egress.sendDatagram(
            [UInt8](repeating: 0, count: 9000).rawSpan, from: Endpoint(address: Lab.remote4, port: 1),
            to: Endpoint(address: Lab.guest4, port: 2), mac: Lab.guestMAC, counters: &counters, outside: &outside)
        #expect(!isSent)
        #expect(outside.frames.count == 2)
        #expect(counters.linkBusy == 1)
    }

    @Test func tooLongForAnyPacketIsRefused() {
        var egress = Egress(configuration: Lab.configuration(), seed: 3)
        var counters = Counters()
        var outside = RecordingOutside()
        let isSent = egress.sendDatagram(
            [UInt8](repeating: 0, count: 65_508).rawSpan, from: Endpoint(address: Lab.remote4, port: 1),
            to: Endpoint(address: Lab.guest4, port: 2), mac: Lab.guestMAC, counters: &counters, outside: &outside)
        #expect(!isSent && outside.frames.isEmpty)
    }
}
