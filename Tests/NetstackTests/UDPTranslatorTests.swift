import Testing
import Wire

@testable import Netstack

@Suite struct UDPTranslatorTests {
    static let remote4 = Endpoint(address: Lab.remote4, port: 4433)
    static let remote6 = Endpoint(address: Lab.remote6, port: 4433)

    @Test("a datagram out and its answer", arguments: [remote4, remote6])
    func there(_ remote: Endpoint) throws {
        var rig = Rig()
        rig.sendUDP(from: 5000, to: remote, [1, 2, 3])
        let flow = try #require(rig.outside.firstFlow)
        #expect(
            rig.outside.takeCalls() == [
                .openDatagram(flow, isV4: remote.address.isV4, preferredPort: 5000),
                .sendDatagram(
                    flow, .endpoint(remote), [1, 2, 3],
                    DatagramOptions(hopLimit: 63, trafficClass: 0, dontFragment: true)),
            ])
        #expect(rig.outside.frames.isEmpty)

        rig.core.hostDatagrams(
            flow, from: remote, [UInt8]([9, 8]).rawSpan, trafficClass: 0x28, at: rig.now, outside: &rig.outside)
        let frames = rig.frames()
        let answer = try #require(frames.first)
        #expect(frames.count == 1)
        #expect(answer.source == remote.address && answer.destination == Rig.guest(for: remote.address))
        #expect(answer.u16(0) == 4433 && answer.u16(2) == 5000 && Array(answer.payload[8...]) == [9, 8])
        #expect(answer.trafficClass == 0x28 && answer.mac == Lab.guestMAC)
    }

    @Test(
        "datagrams of one size come as one super-frame, where each fits", arguments: [remote4, remote6],
        [1000, 1400, 1472])
    func joined(_ remote: Endpoint, size: Int) throws {
        var rig = Rig()
        rig.sendUDP(from: 5000, to: remote, [1])
        let flow = try #require(rig.outside.firstFlow)
        let bytes = (0..<5 * size + 10).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        rig.core.hostDatagrams(
            flow, from: remote, bytes.rawSpan, size: size, trafficClass: 0x28, at: rig.now, outside: &rig.outside)
        let headers = remote.address.isV4 ? 28 : 48
        let sent = rig.outside.frames
        let frames = rig.frames()
        if headers + size <= 1500 {
            #expect(sent.count == 1 && sent[0].offload.segmentation == .udp)
            #expect(Int(sent[0].offload.segmentSize) == size && Int(sent[0].offload.headerLength) == 14 + headers)
            #expect(Array(frames[0].payload[8...]) == bytes && frames[0].trafficClass == 0x28)
        } else {
            // Five of two fragments each, and the short one whole.
            #expect(frames.count == 11)
            let joined = (0..<5).compactMap { SentFrame.joined(Array(frames[2 * $0..<2 * $0 + 2])) } + [frames[10]]
            #expect(joined.flatMap { $0.payload[8...] } == bytes)
        }
    }

    @Test func theMappingIsIndependentOfTheEndpoint() throws {
        var rig = Rig()
        rig.sendUDP(from: 5000, to: Self.remote4, [1])
        let flow = try #require(rig.outside.firstFlow)
        let other = Endpoint(address: IPAddress(v4: 0xcb00_7109), port: 9)
        _ = rig.outside.takeCalls()
        rig.sendUDP(from: 5000, to: other, [])
        #expect(
            rig.outside.takeCalls() == [
                .sendDatagram(
                    flow, .endpoint(other), [], DatagramOptions(hopLimit: 63, trafficClass: 0, dontFragment: true))
            ])
        rig.sendUDP(from: 5001, to: Self.remote4, [1])
        #expect(rig.outside.firstFlow != flow)
    }

    struct Verdict: CustomTestStringConvertible {
        var name: String
        var to: Endpoint
        var hopLimit: UInt8 = 64
        var hostLoopback = false
        /// Type and code of the ICMP error; nil for none.
        var error: (UInt8, UInt8)?
        var from: IPAddress?
        var reason: DropReason?
        var target: Endpoint?
        var testDescription: String { name }
    }

    static let verdicts: [Verdict] = [
        Verdict(
            name: "gateway, closed port", to: Endpoint(address: Lab.gateway4, port: 9), error: (3, 3),
            from: Lab.gateway4),
        Verdict(
            name: "gateway v6, closed port", to: Endpoint(address: Lab.gateway6, port: 9), error: (1, 4),
            from: Lab.gateway6),
        Verdict(name: "alias refused", to: Endpoint(address: Lab.alias4, port: 80), error: (3, 3), from: Lab.alias4),
        Verdict(name: "alias v6 refused", to: Endpoint(address: Lab.alias6, port: 80), error: (1, 4), from: Lab.alias6),
        Verdict(
            name: "alias allowed", to: Endpoint(address: Lab.alias4, port: 80), hostLoopback: true,
            target: Endpoint(address: Configuration.loopback4, port: 80)),
        Verdict(
            name: "alias v6 allowed", to: Endpoint(address: Lab.alias6, port: 80), hostLoopback: true,
            target: Endpoint(address: Configuration.loopback6, port: 80)),
        Verdict(
            name: "nobody of the subnet", to: Endpoint(address: IPAddress(v4: 0x0a00_0263), port: 9), error: (3, 1),
            from: Lab.gateway4),
        Verdict(
            name: "nobody of the subnet, v6", to: Endpoint(address: Lab.address("fd00:2::99"), port: 9), error: (1, 3),
            from: Lab.gateway6),
        Verdict(
            name: "multicast", to: Endpoint(address: IPAddress(v4: 0xe000_00fb), port: 5353),
            reason: .multicastDestination),
        Verdict(
            name: "multicast v6", to: Endpoint(address: Lab.address("ff02::fb"), port: 5353),
            reason: .multicastDestination),
        Verdict(name: "broadcast", to: Endpoint(address: .broadcast, port: 9), reason: .multicastDestination),
        Verdict(name: "loopback", to: Endpoint(address: Configuration.loopback4, port: 9), reason: .martianDestination),
        Verdict(
            name: "loopback v6", to: Endpoint(address: Configuration.loopback6, port: 9), reason: .martianDestination),
        Verdict(name: "port zero", to: Endpoint(address: Lab.remote4, port: 0), reason: .malformedUDP),
        Verdict(name: "last hop", to: remote4, hopLimit: 1, error: (11, 0), from: Lab.gateway4),
        Verdict(name: "last hop v6", to: remote6, hopLimit: 1, error: (3, 0), from: Lab.gateway6),
        Verdict(
            name: "last hop to the gateway", to: Endpoint(address: Lab.gateway4, port: 9), hopLimit: 1, error: (3, 3),
            from: Lab.gateway4),
    ]

    @Test("where a datagram goes", arguments: verdicts)
    func verdict(_ row: Verdict) throws {
        var rig = Rig(Lab.configuration(hostLoopback: row.hostLoopback))
        rig.sendUDP(from: 5000, to: row.to, [1, 2, 3], hopLimit: row.hopLimit)
        if let reason = row.reason { #expect(rig.drops(reason) == 1) }
        let frames = rig.frames()
        #expect(frames.count == (row.error == nil ? 0 : 1))
        if let (type, code) = row.error, let error = frames.first {
            #expect(error.u8(0) == type && error.u8(1) == code)
            #expect(error.source == row.from)
            // The guest's own packet is quoted.
            let source = Endpoint(address: Rig.guest(for: row.to.address), port: 5000)
            let packet = GuestPacket.ip(
                from: source.address, to: row.to.address, IPProtocol.udp,
                GuestPacket.udp(from: source, to: row.to, [1, 2, 3]), hopLimit: row.hopLimit)
            #expect(Array(error.payload[8...]) == packet)
        }
        let sent = rig.outside.calls.compactMap { call -> HostTarget? in
            if case .sendDatagram(_, let target, _, _) = call { target } else { nil }
        }
        #expect(sent == (row.target.map { [.endpoint($0)] } ?? []))
    }

    @Test func refusedLoopbackIsNoted() {
        var rig = Rig()
        let target = Endpoint(address: Lab.alias4, port: 80)
        rig.sendUDP(from: 5000, to: target, [])
        #expect(rig.outside.notices == [.hostLoopbackRefused(target)])
    }

    @Test func anAnswerFromLoopbackComesFromTheAlias() throws {
        var rig = Rig(Lab.configuration(hostLoopback: true))
        rig.sendUDP(from: 5000, to: Endpoint(address: Lab.alias6, port: 80), [1])
        let flow = try #require(rig.outside.firstFlow)
        rig.core.hostDatagrams(
            flow, from: Endpoint(address: Configuration.loopback6, port: 80), [UInt8]([7]).rawSpan, trafficClass: 0,
            at: rig.now, outside: &rig.outside)
        #expect(rig.frames().map(\.source) == [Lab.alias6])
    }

    @Test("queries to the gateway go to the resolver", arguments: [Lab.gateway4, Lab.gateway6])
    func names(_ gateway: IPAddress) throws {
        var rig = Rig()
        let service = Endpoint(address: gateway, port: 53)
        rig.sendUDP(from: 4000, to: service, [1, 2, 3, 4])
        let client = GuestPort(
            guest: Endpoint(address: Rig.guest(for: gateway), port: 4000), local: service, mac: Lab.guestMAC)
        #expect(rig.outside.calls == [.dnsQuery([1, 2, 3, 4], client)])
        rig.core.dnsAnswer(
            to: client, [UInt8](repeating: 7, count: 3000).rawSpan, at: rig.now, outside: &rig.outside)
        let whole = try #require(SentFrame.joined(rig.frames()))
        #expect(whole.u16(0) == 53 && whole.u16(2) == 4000 && whole.payload.count == 3008)
    }

    struct Failure: CustomTestStringConvertible {
        var name: String
        var error: HostError
        var v4: (UInt8, UInt8, UInt32)?
        var v6: (UInt8, UInt8, UInt32)?
        var testDescription: String { name }
    }

    static let failures: [Failure] = [
        Failure(name: "refused", error: .refused, v4: (3, 3, 0), v6: (1, 4, 0)),
        Failure(name: "network unreachable", error: .networkUnreachable, v4: (3, 0, 0), v6: (1, 0, 0)),
        Failure(name: "host unreachable", error: .hostUnreachable, v4: (3, 1, 0), v6: (1, 3, 0)),
        Failure(name: "prohibited", error: .prohibited, v4: (3, 13, 0), v6: (1, 1, 0)),
        Failure(name: "too big", error: .messageTooBig(mtu: 1400), v4: (3, 4, 1400), v6: (2, 0, 1400)),
        Failure(name: "too big for a tiny link", error: .messageTooBig(mtu: 20), v4: (3, 4, 68), v6: (2, 0, 1280)),
        Failure(name: "out of memory", error: .exhausted),
        Failure(name: "something else", error: .other(22)),
    ]

    @Test("what the host refuses at once", arguments: failures, [remote4, remote6])
    func failure(_ row: Failure, _ remote: Endpoint) throws {
        var rig = Rig()
        rig.outside.sendDatagramFailure = .failed(row.error)
        rig.sendUDP(from: 5000, to: remote, [1])
        let frames = rig.frames()
        let expected = remote.address.isV4 ? row.v4 : row.v6
        #expect(frames.count == (expected == nil ? 0 : 1))
        #expect(rig.drops(.hostRefusedDatagram) == 1)
        if let (type, code, rest) = expected, let error = frames.first {
            #expect(error.u8(0) == type && error.u8(1) == code && error.u32(4) == rest)
        }
        // A refused datagram does not end the flow.
        #expect(rig.core.udp.flows.count == 1)
    }

    struct Late: CustomTestStringConvertible {
        var name: String
        var remote: Endpoint
        var type: UInt8
        var code: UInt8
        var information: UInt32 = 0
        var offender: IPAddress?
        var expected: (UInt8, UInt8, UInt32, IPAddress)?
        var testDescription: String { name }
    }

    static let late: [Late] = [
        Late(
            name: "port unreachable", remote: remote4, type: 3, code: 3, offender: Lab.remote4,
            expected: (3, 3, 0, Lab.remote4)),
        Late(
            name: "port unreachable v6", remote: remote6, type: 1, code: 4, offender: Lab.remote6,
            expected: (1, 4, 0, Lab.remote6)),
        Late(
            name: "a router on the way", remote: remote4, type: 11, code: 0, offender: IPAddress(v4: 0x0102_0304),
            expected: (11, 0, 0, IPAddress(v4: 0x0102_0304))),
        Late(
            name: "a router on the way v6", remote: remote6, type: 3, code: 0, offender: Lab.address("2001:db8:1::1"),
            expected: (3, 0, 0, Lab.address("2001:db8:1::1"))),
        Late(name: "the host's own stack", remote: remote4, type: 3, code: 1, expected: (3, 1, 0, Lab.gateway4)),
        Late(
            name: "fragmentation needed", remote: remote4, type: 3, code: 4, information: 1300,
            offender: IPAddress(v4: 0x0102_0304), expected: (3, 4, 1300, IPAddress(v4: 0x0102_0304))),
        Late(
            name: "too big v6", remote: remote6, type: 2, code: 0, information: 1400, offender: Lab.remote6,
            expected: (2, 0, 1400, Lab.remote6)),
        Late(name: "echo reply is no error", remote: remote4, type: 0, code: 0),
        Late(name: "redirect", remote: remote4, type: 5, code: 1),
        Late(name: "echo request v6 is no error", remote: remote6, type: 128, code: 0),
    ]

    @Test("what the error queue tells later", arguments: late)
    func lateError(_ row: Late) throws {
        var rig = Rig()
        rig.sendUDP(from: 5000, to: row.remote, [1])
        let flow = try #require(rig.outside.firstFlow)
        rig.core.hostDatagramError(
            flow,
            DatagramError(
                destination: row.remote, offender: row.offender, type: row.type, code: row.code,
                information: row.information), at: rig.now, outside: &rig.outside)
        let frames = rig.frames()
        #expect(frames.count == (row.expected == nil ? 0 : 1))
        guard let (type, code, rest, from) = row.expected, let error = frames.first else { return }
        #expect(error.u8(0) == type && error.u8(1) == code && error.u32(4) == rest && error.source == from)
        let quoted = Array(error.payload[8...])
        let guest = Rig.guest(for: row.remote.address)
        quoted.withSpan { bytes in
            var read: (IPAddress, IPAddress, UInt8, [UInt8])?
            if let ip = try? IPv4View(bytes) {
                read = (ip.source, ip.destination, ip.protocol, Array(copying: ip.payload))
            } else if let ip = try? IPv6View(bytes) {
                read = (ip.source, ip.destination, ip.nextHeader, Array(copying: ip.payload))
            }
            #expect(read?.0 == guest && read?.1 == row.remote.address && read?.2 == IPProtocol.udp)
            #expect(read?.3 == be16(5000) + be16(row.remote.port) + be16(8) + be16(0))
        }
    }

    @Test func idleFlowsEndAndBriefOnesSooner() throws {
        var rig = Rig()
        rig.sendUDP(from: 1, to: Endpoint(address: Lab.remote4, port: 53), [])
        let brief = try #require(rig.outside.firstFlow)
        _ = rig.outside.takeCalls()
        rig.sendUDP(from: 2, to: Self.remote4, [])
        let full = try #require(rig.outside.firstFlow)
        _ = rig.outside.takeCalls()
        rig.advance(by: .seconds(119))
        #expect(rig.outside.calls.isEmpty)
        // Traffic towards the guest refreshes (RFC 4787 REQ-6).
        rig.core.hostDatagrams(
            full, from: Self.remote4, RawSpan(), trafficClass: 0, at: rig.now, outside: &rig.outside)
        #expect(rig.core.udp.nextDeadline == rig.now + .seconds(1))
        rig.advance(by: .seconds(1))
        #expect(rig.outside.takeCalls() == [.close(brief, reset: false)])
        rig.advance(by: .seconds(298))
        #expect(rig.outside.calls.isEmpty)
        rig.advance(by: .seconds(1))
        #expect(rig.outside.takeCalls() == [.close(full, reset: false)])
        #expect(rig.core.udp.flows.count == 0 && rig.core.udp.nextDeadline == .never)
        // A late answer meets nobody.
        _ = rig.outside.takeFrames()
        rig.core.hostDatagrams(
            full, from: Self.remote4, RawSpan(), trafficClass: 0, at: rig.now, outside: &rig.outside)
        #expect(rig.outside.frames.isEmpty)
    }

    @Test func aFullTableReusesTheFlowIdleLongest() throws {
        var configuration = Lab.configuration()
        configuration.limits.datagramFlows = 4
        var rig = Rig(configuration)
        var flows: [FlowID] = []
        for port in UInt16(1)...4 {
            rig.sendUDP(from: port, to: Self.remote4, [])
            flows.append(try #require(rig.outside.firstFlow))
            _ = rig.outside.takeCalls()
            rig.now = rig.now + .seconds(1)
        }
        rig.sendUDP(from: 1, to: Self.remote4, [])
        _ = rig.outside.takeCalls()
        rig.sendUDP(from: 5, to: Self.remote4, [])
        let calls = rig.outside.takeCalls()
        #expect(calls.prefix(2) == [.note(.tableFull(.datagramFlows)), .close(flows[1], reset: false)])
        #expect(rig.core.udp.flows.count == 4 && rig.drops(.datagramFlowsFull) == 1)
    }

    @Test func anExhaustedHostMakesRoomOnce() throws {
        var rig = Rig()
        rig.sendUDP(from: 1, to: Self.remote4, [])
        let first = try #require(rig.outside.firstFlow)
        _ = rig.outside.takeCalls()
        rig.outside.openDatagramResult = .failed(.exhausted)
        rig.sendUDP(from: 2, to: Endpoint(address: Lab.remote4, port: 53), [])
        let calls = rig.outside.takeCalls()
        #expect(calls.contains(.close(first, reset: false)))
        #expect(calls.count == 4)
        #expect(rig.core.udp.flows.count == 0 && rig.outside.frames.isEmpty)
    }

    @Test("super-frames are cut into datagrams", arguments: [remote4, remote6])
    func superFrames(_ remote: Endpoint) {
        var rig = Rig()
        var offload = OffloadHeader()
        offload.segmentation = .udp
        offload.segmentSize = 1000
        offload.needsChecksum = true
        let payload = (0..<3500).map { UInt8(truncatingIfNeeded: $0 / 7) }
        rig.sendUDP(from: 5000, to: remote, payload, offload: offload)
        let sent = rig.outside.calls.compactMap { call -> [UInt8]? in
            if case .sendDatagram(_, _, let bytes, _) = call { bytes } else { nil }
        }
        #expect(sent.map(\.count) == [1000, 1000, 1000, 500])
        #expect(sent.reduce([], +) == payload)
        offload.segmentSize = 1
        rig.sendUDP(from: 5000, to: remote, payload, offload: offload)
        offload.segmentSize = 0
        rig.sendUDP(from: 5000, to: remote, payload, offload: offload)
        #expect(rig.drops(.badOffload) == 2)
    }

    struct Sum: CustomTestStringConvertible {
        var name: String
        var remote: Endpoint
        var checksum: UInt16?
        var offload = OffloadHeader()
        var passes: Bool
        var testDescription: String { name }
    }

    static let sums: [Sum] = {
        var left = OffloadHeader()
        left.needsChecksum = true
        var valid = OffloadHeader()
        valid.checksumValid = true
        return [
            Sum(name: "right", remote: remote4, passes: true),
            Sum(name: "wrong", remote: remote4, checksum: 0x1234, passes: false),
            Sum(name: "none", remote: remote4, checksum: 0, passes: true),
            Sum(name: "right v6", remote: remote6, passes: true),
            Sum(name: "wrong v6", remote: remote6, checksum: 0x1234, passes: false),
            Sum(name: "none v6", remote: remote6, checksum: 0, passes: false),
            Sum(name: "left to us", remote: remote4, checksum: 0x1234, offload: left, passes: true),
            Sum(name: "known to be right", remote: remote6, checksum: 0x1234, offload: valid, passes: true),
        ]
    }()

    @Test("checksums", arguments: sums)
    func checksum(_ row: Sum) {
        var rig = Rig()
        let source = Endpoint(address: Rig.guest(for: row.remote.address), port: 5000)
        var datagram = GuestPacket.udp(from: source, to: row.remote, [1, 2, 3])
        if let checksum = row.checksum { datagram.replaceSubrange(6..<8, with: be16(checksum)) }
        rig.send(
            GuestPacket.ip(from: source.address, to: row.remote.address, IPProtocol.udp, datagram),
            offload: row.offload)
        #expect(rig.drops(.badUDPChecksum) == (row.passes ? 0 : 1))
        #expect(rig.outside.calls.isEmpty == !row.passes)
    }

    @Test("truncation at every length is counted", arguments: [remote4, remote6])
    func truncation(_ remote: Endpoint) {
        var rig = Rig()
        let source = Endpoint(address: Rig.guest(for: remote.address), port: 5000)
        let datagram = GuestPacket.udp(from: source, to: remote, [1, 2, 3])
        for length in 0..<datagram.count {
            rig.send(
                GuestPacket.ip(from: source.address, to: remote.address, IPProtocol.udp, Array(datagram[..<length])))
        }
        #expect(rig.drops(.malformedUDP) == UInt64(datagram.count))
        #expect(rig.outside.calls.isEmpty && rig.outside.frames.isEmpty)
    }
}
