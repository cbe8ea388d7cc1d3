import Testing
import Wire

@testable import Netstack

@Suite struct EchoTranslatorTests {
    @Test(
        "our own addresses answer, whatever the size", arguments: [Lab.gateway4, Lab.alias4, Lab.gateway6, Lab.alias6],
        [0, 56, 1472, 4000, 65_000])
    func ourselves(_ target: IPAddress, _ size: Int) throws {
        var rig = Rig()
        var random = Randomness(seed: 5)
        let data = random.bytes(size)
        let source = Rig.guest(for: target)
        let message = GuestPacket.echo(from: source, to: target, identifier: 77, sequence: 3, data)
        for packet in Fragmenter.cut(message, from: source, to: target, target.isV4 ? 1 : 58) { rig.send(packet) }
        let frames = rig.frames()
        let reply = try #require(frames.count == 1 ? frames[0] : SentFrame.joined(frames))
        #expect(reply.source == target && reply.destination == source)
        #expect(reply.u8(0) == (target.isV4 ? 0 : 129) && reply.u16(4) == 77 && reply.u16(6) == 3)
        #expect(Array(reply.payload[8...]) == data)
        #expect(rig.outside.calls.isEmpty)
    }

    @Test("an echo out and its reply", arguments: [Lab.remote4, Lab.remote6])
    func through(_ remote: IPAddress) throws {
        var rig = Rig()
        rig.sendEcho(to: remote, identifier: 77, sequence: 1, [1, 2, 3])
        let flow = try #require(rig.outside.firstFlow)
        #expect(
            rig.outside.takeCalls() == [
                .openEcho(flow, isV4: remote.isV4),
                .sendEcho(
                    flow, remote, 1, [1, 2, 3], DatagramOptions(hopLimit: 63, trafficClass: 0, dontFragment: true)),
            ])
        // The host's kernel has put its own identifier in; the guest's comes back.
        let message = GuestPacket.icmp(
            from: remote, to: Rig.guest(for: remote), type: remote.isV4 ? 0 : 129,
            be16(0xbeef) + be16(1) + [1, 2, 3])
        rig.core.hostEcho(
            flow, from: remote, message.rawSpan, hopLimit: 50, at: rig.now, outside: &rig.outside)
        let frames = rig.frames()
        let reply = try #require(frames.first)
        #expect(reply.source == remote && reply.hopLimit == 49)
        #expect(reply.u16(4) == 77 && reply.u16(6) == 1 && Array(reply.payload[8...]) == [1, 2, 3])
        rig.sendEcho(to: remote, identifier: 77, sequence: 2, [])
        #expect(rig.outside.firstFlow == flow && rig.outside.calls.count == 1)
    }

    @Test("traceroute sees us first", arguments: [Lab.remote4, Lab.remote6])
    func firstHop(_ remote: IPAddress) throws {
        var rig = Rig()
        rig.sendEcho(to: remote, identifier: 77, sequence: 1, [], hopLimit: 1)
        let frames = rig.frames()
        let error = try #require(frames.first)
        #expect(error.u8(0) == (remote.isV4 ? 11 : 3) && error.u8(1) == 0)
        #expect(error.source == (remote.isV4 ? Lab.gateway4 : Lab.gateway6))
        #expect(rig.outside.calls.isEmpty)
    }

    @Test("traceroute sees the others", arguments: [Lab.remote4, Lab.remote6])
    func laterHops(_ remote: IPAddress) throws {
        var rig = Rig()
        rig.sendEcho(to: remote, identifier: 77, sequence: 9, [], hopLimit: 2)
        let flow = try #require(rig.outside.firstFlow)
        let router = remote.isV4 ? IPAddress(v4: 0x0102_0304) : Lab.address("2001:db8:1::1")
        rig.core.hostDatagramError(
            flow,
            DatagramError(
                destination: Endpoint(address: remote, port: 9), offender: router, type: remote.isV4 ? 11 : 3, code: 0,
                information: 0), at: rig.now, outside: &rig.outside)
        let frames = rig.frames()
        let error = try #require(frames.first)
        #expect(error.source == router && error.u8(0) == (remote.isV4 ? 11 : 3))
        // The quoted echo request has the guest's identifier and the probe's sequence number.
        let quoted = Array(error.payload[(8 + (remote.isV4 ? 20 : 40))...])
        #expect(quoted == [remote.isV4 ? 8 : 128, 0, 0, 0] + be16(77) + be16(9))
    }

    @Test("a host without echo sockets says so", arguments: [Lab.remote4, Lab.remote6])
    func prohibited(_ remote: IPAddress) throws {
        var rig = Rig()
        rig.outside.openEchoResult = .failed(.prohibited)
        rig.sendEcho(to: remote, identifier: 77, sequence: 9, [])
        #expect(rig.outside.notices == [.echoUnavailable(isV4: remote.isV4)])
        let frames = rig.frames()
        let error = try #require(frames.first)
        #expect(error.u8(0) == (remote.isV4 ? 3 : 1) && error.u8(1) == (remote.isV4 ? 13 : 1))
        #expect(rig.core.icmp.echo.flows.count == 0)
    }

    @Test func flowsEndAfterAMinuteAndAreBounded() {
        var configuration = Lab.configuration()
        configuration.limits.echoFlows = 8
        var rig = Rig(configuration)
        for identifier in UInt16(0)..<20 {
            rig.sendEcho(to: Lab.remote4, identifier: identifier, sequence: 0, [])
            rig.now = rig.now + .milliseconds(1)
        }
        #expect(rig.core.icmp.echo.flows.count == 8 && rig.drops(.echoFlowsFull) == 12)
        rig.advance(by: .seconds(61))
        #expect(rig.core.icmp.echo.flows.count == 0)
        let closed = rig.outside.calls.filter { if case .close = $0 { true } else { false } }
        #expect(closed.count == 20)
    }

    @Test("truncation at every length is counted", arguments: [Lab.remote4, Lab.remote6])
    func truncation(_ remote: IPAddress) {
        var rig = Rig()
        let source = Rig.guest(for: remote)
        let message = GuestPacket.echo(from: source, to: remote, identifier: 1, sequence: 2, [1, 2, 3, 4])
        for length in 0..<message.count {
            rig.send(GuestPacket.ip(from: source, to: remote, remote.isV4 ? 1 : 58, Array(message[..<length])))
        }
        #expect(rig.core.counters.dropped == UInt64(message.count))
        #expect(rig.outside.calls.isEmpty && rig.outside.frames.isEmpty)
    }
}
