import Testing
import Wire

@testable import Netstack

@Suite struct ICMPServiceTests {
    struct Row: CustomTestStringConvertible {
        var name: String
        var to: IPAddress
        var type: UInt8
        var code: UInt8 = 0
        var reason: DropReason?
        var testDescription: String { name }
    }

    static let rows = [
        Row(name: "unreachable that quotes nothing", to: Lab.remote4, type: 3, reason: .malformedICMP),
        Row(name: "echo reply", to: Lab.remote4, type: 0, reason: .unexpectedICMP),
        Row(name: "timestamp", to: Lab.gateway4, type: 13, reason: .unexpectedICMP),
        Row(name: "echo with a code", to: Lab.gateway4, type: 8, code: 1, reason: .malformedICMP),
        Row(name: "unreachable v6 that quotes nothing", to: Lab.remote6, type: 1, reason: .malformedICMP),
        Row(name: "listener report", to: Lab.address("ff02::16"), type: 143),
        Row(name: "redirect", to: Lab.gateway6, type: 137, reason: .unexpectedICMP),
        Row(name: "echo to all nodes", to: NDPGroup.allNodes, type: 128, reason: .multicastDestination),
        Row(name: "echo to loopback", to: Configuration.loopback6, type: 128, reason: .martianDestination),
    ]

    @Test("what is counted and not answered", arguments: rows)
    func counted(_ row: Row) {
        var rig = Rig()
        let source = Rig.guest(for: row.to)
        rig.send(
            GuestPacket.ip(
                from: source, to: row.to, row.to.isV4 ? 1 : 58,
                GuestPacket.icmp(from: source, to: row.to, type: row.type, code: row.code, be32(0)), hopLimit: 255))
        #expect(rig.outside.frames.isEmpty && rig.outside.calls.isEmpty)
        #expect(rig.core.counters.dropped == (row.reason == nil ? 0 : 1))
        if let reason = row.reason { #expect(rig.drops(reason) == 1) }
    }

    @Test("a wrong checksum is counted", arguments: [Lab.gateway4, Lab.gateway6])
    func checksum(_ target: IPAddress) {
        var rig = Rig()
        let source = Rig.guest(for: target)
        var message = GuestPacket.echo(from: source, to: target, identifier: 1, sequence: 1, [1])
        message[2] ^= 1
        rig.send(GuestPacket.ip(from: source, to: target, target.isV4 ? 1 : 58, message))
        #expect(rig.drops(.badICMPChecksum) == 1 && rig.outside.frames.isEmpty)
    }

    /// Packets of every kind the services know, to be bent out of shape.
    static func samples() -> [[UInt8]] {
        var samples: [[UInt8]] = []
        for remote in [Lab.remote4, Lab.gateway4, Lab.alias4, Lab.remote6, Lab.gateway6, Lab.alias6] {
            let source = Rig.guest(for: remote)
            let proto: UInt8 = remote.isV4 ? 1 : 58
            samples.append(
                GuestPacket.ip(
                    from: source, to: remote, proto,
                    GuestPacket.echo(from: source, to: remote, identifier: 1, sequence: 2, [1, 2, 3])))
            for port in [UInt16(53), 9, 67, 547] {
                let (guest, target) = (Endpoint(address: source, port: 68), Endpoint(address: remote, port: port))
                samples.append(
                    GuestPacket.ip(
                        from: source, to: remote, IPProtocol.udp,
                        GuestPacket.udp(from: guest, to: target, [1, 2, 3, 4])))
            }
            samples += Fragmenter.cut(
                ReassemblerTests.datagram(remote, 100), from: source, to: remote, IPProtocol.udp, unit: 56)
        }
        let solicited = NDPResponderTests.solicitedNode(Lab.gateway6)
        samples.append(
            GuestPacket.ipv6(
                to: solicited, 58,
                GuestPacket.icmp(
                    from: Lab.guest6, to: solicited, type: 135,
                    be32(0) + NDPResponderTests.bytes(Lab.gateway6) + [1, 1, 1, 2, 3, 4, 5, 6]), hopLimit: 255))
        let clients = Endpoint(address: .anyV4, port: 68)
        for type in UInt8(1)...8 {
            samples.append(
                GuestPacket.ipv4(
                    from: .anyV4, to: .broadcast, IPProtocol.udp,
                    GuestPacket.udp(
                        from: clients, to: Endpoint(address: .broadcast, port: 67),
                        DHCPv4ServerTests.request(type, requested: Lab.guest4, server: Lab.gateway4))))
        }
        for type in UInt8(1)...11 {
            let (client, servers) = (
                Endpoint(address: Lab.guestLinkLocal, port: 546), Endpoint(address: DHCPv6.allServers, port: 547)
            )
            samples.append(
                GuestPacket.ipv6(
                    from: client.address, to: servers.address, IPProtocol.udp,
                    GuestPacket.udp(
                        from: client, to: servers,
                        DHCPv6ServerTests.message(type, server: DHCPv6ServerTests.server, address: Lab.guest6))))
        }
        return samples
    }

    @Test("bent frames never trap and the tables stay bounded", arguments: UInt64(0)..<12)
    func bent(_ seed: UInt64) {
        var random = Randomness(seed: seed)
        var configuration = Lab.configuration(hostLoopback: seed % 2 == 0)
        configuration.limits.datagramFlows = 16
        configuration.limits.echoFlows = 8
        var rig = Rig(configuration, seed: seed)
        let samples = Self.samples()
        var lastFlow = FlowID(rawValue: 0)
        for _ in 0..<4000 {
            var packet = samples.randomElement(using: &random) ?? []
            for _ in 0..<Int.random(in: 0...4, using: &random) where !packet.isEmpty {
                let at = Int.random(in: 0..<packet.count, using: &random)
                packet[at] = UInt8.random(in: 0...255, using: &random)
            }
            if UInt8.random(in: 0...7, using: &random) == 0 {
                packet = Array(packet.prefix(Int.random(in: 0...packet.count, using: &random)))
            }
            if packet.count >= 20, packet[0] >> 4 == 4 {
                // A right header checksum, so that the damage gets further in.
                packet.replaceSubrange(10..<12, with: [0, 0])
                let header = Array(packet.prefix(min(packet.count, max(Int(packet[0] & 15) * 4, 20))))
                packet.replaceSubrange(10..<12, with: be16(header.withSpan { Checksum.finish(Checksum.sum($0)) }))
            }
            var offload = OffloadHeader()
            offload.checksumValid = Bool.random(using: &random)
            if UInt8.random(in: 0...9, using: &random) == 0 {
                offload.segmentation = .udp
                offload.segmentSize = UInt16.random(in: 0...9, using: &random)
            }
            rig.send(packet, offload: offload)
            if UInt8.random(in: 0...9, using: &random) == 0 {
                let frame = random.bytes(Int.random(in: 0...120, using: &random))
                rig.sendFrame([0x52, 0x54, 0, 0, 0, 1] + frame)
            }
            lastFlow = rig.outside.firstFlow ?? lastFlow
            switch UInt8.random(in: 0...19, using: &random) {
            case 0:
                rig.core.hostDatagrams(
                    lastFlow, from: Endpoint(address: Lab.remote4, port: 1), random.bytes(30).rawSpan, trafficClass: 0,
                    at: rig.now, outside: &rig.outside)
            case 1:
                rig.core.hostDatagramError(
                    lastFlow,
                    DatagramError(
                        destination: Endpoint(address: Lab.remote6, port: 1), offender: nil,
                        type: UInt8.random(in: 0...255, using: &random), code: 0, information: 0), at: rig.now,
                    outside: &rig.outside)
            case 2: rig.advance(by: .milliseconds(Int64.random(in: 0...60_000, using: &random)))
            default: break
            }
            _ = rig.outside.takeCalls()
            _ = rig.outside.takeFrames()
            let (udp, echo) = (rig.core.udp.flows.count, rig.core.icmp.echo.flows.count)
            #expect(udp <= 16 && echo <= 8, "seed \(seed)")
            let leases = rig.core.udp.dhcpv4.leaseCount + rig.core.udp.dhcpv6.leaseCount
            #expect(leases <= 512, "seed \(seed)")
        }
    }
}
