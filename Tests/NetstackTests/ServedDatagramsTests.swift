import Testing
import Wire

@testable import Netstack

// Clients of the guest's UDP servers: whom the guest sees, where its answers go, how long and how many.

@Suite struct ServedDatagramsTests {
    static let server4 = Endpoint(address: Lab.guest4, port: 53)
    static let server6 = Endpoint(address: Lab.guest6, port: 53)
    static let path4 = DatagramPath(local: IPAddress("203.0.113.1")!)
    static let path6 = DatagramPath(local: IPAddress("2001:db8:5::1")!)

    /// A rig whose guest's station is known.
    static func rig(_ configuration: Configuration = Lab.configuration()) -> Rig {
        var rig = Rig(configuration)
        for address in [Lab.guest4, Lab.guest6] {
            _ = rig.core.neighbours.find(address, at: rig.now)
            _ = rig.core.neighbours.learn(Neighbour(address: address, mac: Lab.guestMAC), at: rig.now)
        }
        return rig
    }

    static func arrive(
        _ rig: inout Rig, from client: Endpoint, _ bytes: [UInt8], path: DatagramPath? = nil, port: UInt32 = 3,
        size: Int? = nil
    ) {
        let isV4 = client.address.isV4
        rig.core.hostServed(
            port, from: client, path: path ?? (isV4 ? path4 : path6), to: isV4 ? server4 : server6, bytes.rawSpan,
            size: size, trafficClass: 0x20, at: rig.now, outside: &rig.outside)
    }

    /// Source and destination port of a frame's datagram.
    static func ports(_ frame: SentFrame) -> [UInt16] { [frame.u16(0), frame.u16(2)] }

    static let options = DatagramOptions(hopLimit: 63, trafficClass: 0, dontFragment: true)

    @Test(arguments: [Lab.remote4, Lab.remote6])
    func anAnswerGoesTheWayTheClientCame(remote: IPAddress) {
        var rig = Self.rig()
        let client = Endpoint(address: remote, port: 5353)
        Self.arrive(&rig, from: client, [1, 2, 3])
        let frames = rig.frames()
        #expect(frames.count == 1)
        #expect(frames[0].source == remote && frames[0].destination == Rig.guest(for: remote))
        #expect(Self.ports(frames[0]) == [5353, 53] && frames[0].payload.suffix(3) == [1, 2, 3])
        #expect(frames[0].mac == Lab.guestMAC && frames[0].trafficClass == 0x20)
        rig.sendUDP(from: 53, to: client, [4, 5])
        #expect(
            rig.outside.takeCalls() == [
                .sendServed(3, remote.isV4 ? Self.path4 : Self.path6, client, [4, 5], size: 2, Self.options)
            ])
        // To anybody else from the same port: a flow of its own.
        rig.sendUDP(from: 53, to: Endpoint(address: remote, port: 9), [6])
        guard case .openDatagram = rig.outside.takeCalls().first else {
            Issue.record("no flow for the rest")
            return
        }
    }

    @Test func clientsThatLookAlikeAreToldApart() {
        var rig = Self.rig()
        let first = Endpoint(address: IPAddress("127.0.0.1")!, port: 5000)
        let second = Endpoint(address: IPAddress("127.0.0.2")!, port: 5000)
        Self.arrive(&rig, from: first, [1])
        Self.arrive(&rig, from: second, [2])
        // One client that asks two addresses of the host: its answers have to come from both.
        Self.arrive(&rig, from: first, [3], path: DatagramPath(local: IPAddress("127.0.0.9")!))
        // ... or two ports of it.
        Self.arrive(&rig, from: first, [4], port: 4)
        let frames = rig.frames()
        #expect(frames.allSatisfy { $0.source == Lab.alias4 })
        let ports = frames.map { $0.u16(0) }
        #expect(ports[0] == 5000 && Set(ports).count == 4)
        _ = rig.outside.takeCalls()
        for port in ports { rig.sendUDP(from: 53, to: Endpoint(address: Lab.alias4, port: port), [9]) }
        #expect(
            rig.outside.takeCalls() == [
                .sendServed(3, Self.path4, first, [9], size: 1, Self.options),
                .sendServed(3, Self.path4, second, [9], size: 1, Self.options),
                .sendServed(3, DatagramPath(local: IPAddress("127.0.0.9")!), first, [9], size: 1, Self.options),
                .sendServed(4, Self.path4, first, [9], size: 1, Self.options),
            ])
    }

    @Test func theSameClientIsOneFlow() {
        var rig = Self.rig()
        let client = Endpoint(address: Lab.remote4, port: 5353)
        for _ in 0..<5 { Self.arrive(&rig, from: client, [1]) }
        #expect(rig.core.flowCount == 1)
        #expect(Set(rig.frames().map { $0.u16(0) }) == [5353])
    }

    @Test func aClientIsForgottenAfterFiveMinutes() {
        var rig = Self.rig()
        Self.arrive(&rig, from: Endpoint(address: Lab.remote4, port: 5353), [1])
        rig.advance(by: .seconds(299))
        #expect(rig.core.flowCount == 1)
        rig.sendUDP(from: 53, to: Endpoint(address: Lab.remote4, port: 5353), [1])
        rig.advance(by: .seconds(299))
        #expect(rig.core.flowCount == 1)
        rig.advance(by: .seconds(2))
        #expect(rig.core.flowCount == 0)
    }

    @Test func theIdlestClientGivesWay() {
        var configuration = Lab.configuration()
        configuration.limits.datagramFlows = 3
        var rig = Self.rig(configuration)
        for i in 0..<4 {
            rig.now = rig.now + .milliseconds(1)
            Self.arrive(&rig, from: Endpoint(address: Lab.remote4, port: UInt16(5000 + i)), [1])
        }
        #expect(rig.core.flowCount == 3 && rig.drops(.datagramFlowsFull) == 1)
        #expect(rig.outside.notices == [.tableFull(.datagramFlows)])
        _ = rig.outside.takeCalls()
        rig.sendUDP(from: 53, to: Endpoint(address: Lab.remote4, port: 5001), [1])
        guard case .sendServed = rig.outside.takeCalls().first else {
            Issue.record("the second client is gone")
            return
        }
    }

    @Test(arguments: [Lab.remote4, Lab.remote6])
    func datagramsWaitForTheStation(remote: IPAddress) {
        var rig = Rig()
        let client = Endpoint(address: remote, port: 5353)
        for i in 0..<3 { Self.arrive(&rig, from: client, [UInt8(i)]) }
        // More than may wait.
        for _ in 0..<3 { Self.arrive(&rig, from: client, [UInt8](repeating: 7, count: 30_000)) }
        #expect(rig.drops(.unresolved) == 1)
        let asked = rig.frames()
        #expect(asked.count == 1)
        if remote.isV4 {
            let reply = ARPPacket(
                operation: ARPOperation.reply, senderMAC: Lab.guestMAC, senderAddress: Lab.guest4,
                targetMAC: Lab.gatewayMAC, targetAddress: Lab.gateway4)
            rig.sendFrame(
                GuestPacket.ethernet(EtherType.arp, [UInt8].written(28) { reply.write(to: &$0, at: 0) }))
        } else {
            var message = [UInt8](repeating: 0, count: 0)
            message = [136, 0, 0, 0, 0x60, 0, 0, 0]
            let target = Lab.guest6
            for shift in stride(from: 56, through: 0, by: -8) {
                message.append(UInt8(truncatingIfNeeded: target.hi >> UInt64(shift)))
            }
            for shift in stride(from: 56, through: 0, by: -8) {
                message.append(UInt8(truncatingIfNeeded: target.lo >> UInt64(shift)))
            }
            message += [2, 1, 0x52, 0x54, 0, 0, 0, 2]
            rig.send(
                GuestPacket.ip(
                    from: Lab.guest6, to: Lab.gateway6, IPProtocol.icmpv6,
                    GuestPacket.icmp(
                        from: Lab.guest6, to: Lab.gateway6, type: 136, Array(message[4...])), hopLimit: 255))
        }
        let frames = rig.frames()
        #expect(frames.filter { !$0.isFragment }.map { $0.payload.last } == [0, 1, 2])
        #expect(frames.filter { $0.isFragment }.count > 40)
    }

    @Test func whatWaitsForNobodyIsLost() {
        var rig = Rig()
        Self.arrive(&rig, from: Endpoint(address: Lab.remote4, port: 5353), [1])
        for _ in 0..<4 { rig.advance(by: .seconds(1)) }
        #expect(rig.drops(.unresolved) == 1)
        #expect(rig.frames().filter { $0.proto == IPProtocol.udp }.isEmpty)
    }

    @Test func anErrorAboutAnAnswerIsToldToTheGuest() {
        var rig = Self.rig()
        let client = Endpoint(address: Lab.remote4, port: 5353)
        Self.arrive(&rig, from: client, [1])
        rig.sendUDP(from: 53, to: client, [2])
        _ = rig.frames()
        rig.core.hostServedError(
            3,
            DatagramError(destination: client, offender: Lab.remote4, type: 3, code: 3, information: 0), at: rig.now,
            outside: &rig.outside)
        let frames = rig.frames()
        #expect(frames.count == 1 && frames[0].proto == IPProtocol.icmp && frames[0].source == Lab.remote4)
        // The quoted ports: the server's and the client's.
        #expect(frames[0].payload.suffix(8).prefix(4) == be16(53)[...] + be16(5353))
        // About somebody who has never asked.
        rig.core.hostServedError(
            3,
            DatagramError(
                destination: Endpoint(address: Lab.remote4, port: 1), offender: nil, type: 3, code: 3, information: 0),
            at: rig.now, outside: &rig.outside)
        #expect(rig.frames().isEmpty)
    }

    @Test func aSuperFrameIsOneCall() {
        var rig = Self.rig()
        let client = Endpoint(address: Lab.remote4, port: 5353)
        Self.arrive(&rig, from: client, [1])
        _ = rig.outside.takeCalls()
        var offload = OffloadHeader()
        offload.segmentation = .udp
        offload.segmentSize = 1000
        offload.checksumValid = true
        rig.sendUDP(from: 53, to: client, [UInt8](repeating: 8, count: 2500), offload: offload)
        #expect(
            rig.outside.takeCalls() == [
                .sendServed(
                    3, Self.path4, client, [UInt8](repeating: 8, count: 2500), size: 1000, Self.options)
            ])
    }
}
