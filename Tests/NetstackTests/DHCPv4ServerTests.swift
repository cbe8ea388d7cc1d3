import Testing
import Wire

@testable import Netstack

@Suite struct DHCPv4ServerTests {
    static let other = IPAddress(v4: 0x0a00_0263)

    /// What a client gets back.
    struct Answer: Equatable {
        var type: UInt8
        var address: IPAddress
        var destination: IPAddress
        var mac: MACAddress
    }

    static func request(
        _ type: UInt8, mac: MACAddress = Lab.guestMAC, client: IPAddress = .anyV4, requested: IPAddress? = nil,
        server: IPAddress? = nil, broadcast: Bool = false, identifier: [UInt8] = []
    ) -> [UInt8] {
        var message = DHCPv4Message(
            operation: DHCPv4.bootRequest, messageType: type, transactionID: 0x1234_5678, clientMAC: mac)
        message.flags = broadcast ? 0x8000 : 0
        message.clientAddress = client
        message.requestedAddress = requested
        message.serverIdentifier = server
        var length = 0
        var bytes = [UInt8].written(600) { length = message.write(to: &$0, at: 0) }
        bytes = Array(bytes[..<length])
        if !identifier.isEmpty {
            // In front of the options: right behind the cookie.
            bytes.insert(contentsOf: [61, UInt8(identifier.count)] + identifier, at: 240)
        }
        return bytes
    }

    static func send(_ rig: inout Rig, _ message: [UInt8], from source: IPAddress = .anyV4, to: IPAddress = .broadcast)
        -> Answer?
    {
        let (client, server) = (Endpoint(address: source, port: 68), Endpoint(address: to, port: 67))
        rig.send(
            GuestPacket.ipv4(from: source, to: to, IPProtocol.udp, GuestPacket.udp(from: client, to: server, message)),
            to: to == .broadcast ? .broadcast : Lab.gatewayMAC)
        guard let frame = rig.frames().first else { return nil }
        #expect(frame.source == Lab.gateway4 && frame.u16(0) == 67 && frame.u16(2) == 68)
        var answer: Answer?
        Array(frame.payload[8...]).withSpan { bytes in
            guard let view = try? DHCPv4View(bytes), let type = view.messageType else { return }
            let (id, server) = (view.transactionID, view.serverIdentifier)
            #expect(id == 0x1234_5678 && server == Lab.gateway4)
            answer = Answer(type: type, address: view.yourAddress, destination: frame.destination, mac: frame.mac)
        }
        return answer
    }

    @Test func discoverOfferRequestAcknowledgment() throws {
        var rig = Rig()
        let offer = Self.send(&rig, Self.request(1))
        #expect(offer == Answer(type: 2, address: Lab.guest4, destination: Lab.guest4, mac: Lab.guestMAC))
        let acknowledgment = Self.send(&rig, Self.request(3, requested: Lab.guest4, server: Lab.gateway4))
        #expect(acknowledgment == Answer(type: 5, address: Lab.guest4, destination: Lab.guest4, mac: Lab.guestMAC))
        // Renewal by unicast.
        let renewal = Self.send(&rig, Self.request(3, client: Lab.guest4), from: Lab.guest4, to: Lab.gateway4)
        #expect(renewal == Answer(type: 5, address: Lab.guest4, destination: Lab.guest4, mac: Lab.guestMAC))
    }

    @Test func optionsAreStated() throws {
        var rig = Rig(Lab.configuration(mtu: 9000))
        let message = Self.request(1)
        rig.send(
            GuestPacket.ipv4(
                from: .anyV4, to: .broadcast, IPProtocol.udp,
                GuestPacket.udp(
                    from: Endpoint(address: .anyV4, port: 68), to: Endpoint(address: .broadcast, port: 67), message)))
        let frames = rig.frames()
        let frame = try #require(frames.first)
        let expected: [(UInt8, [UInt8])] = [
            (1, [255, 255, 255, 0]), (3, [10, 0, 2, 1]), (6, [10, 0, 2, 1]), (26, be16(9000)), (28, [10, 0, 2, 255]),
            (51, be32(3600)), (54, [10, 0, 2, 1]), (58, be32(1800)), (59, be32(3150)),
            (15, Array("lab.example".utf8)),
            (
                119,
                [3] + Array("lab".utf8) + [7] + Array("example".utf8) + [0, 7] + Array("example".utf8) + [3]
                    + Array("org".utf8) + [0]
            ),
        ]
        Array(frame.payload[8...]).withSpan { bytes in
            guard let view = try? DHCPv4View(bytes) else {
                Issue.record("not a DHCP message")
                return
            }
            for (code, value) in expected {
                var found: [UInt8] = []
                if let option = view.option(code) { found = Array(copying: option) }
                #expect(found == value, "option \(code)")
            }
        }
    }

    @Test("where answers go: broadcast flag, own address, refusal")
    func destinations() {
        var rig = Rig()
        let broadcast = Self.send(&rig, Self.request(1, broadcast: true))
        #expect(broadcast == Answer(type: 2, address: Lab.guest4, destination: .broadcast, mac: .broadcast))
        let refusal = Self.send(&rig, Self.request(3, requested: Self.other, server: Lab.gateway4))
        #expect(refusal == Answer(type: 6, address: .anyV4, destination: .broadcast, mac: .broadcast))
        let inform = Self.send(&rig, Self.request(8, client: Self.other), from: Self.other)
        #expect(inform == Answer(type: 5, address: .anyV4, destination: Self.other, mac: Lab.guestMAC))
    }

    struct Row: CustomTestStringConvertible {
        var name: String
        var message: [UInt8]
        var type: UInt8?
        var testDescription: String { name }
    }

    static let rows = [
        Row(name: "reboot with a free address", message: request(3, requested: other), type: 5),
        Row(name: "reboot with an address of elsewhere", message: request(3, requested: Lab.remote4), type: 6),
        Row(name: "reboot with the gateway's address", message: request(3, requested: Lab.gateway4), type: 6),
        Row(name: "reboot with the alias", message: request(3, requested: Lab.alias4), type: 6),
        Row(
            name: "reboot with the broadcast address", message: request(3, requested: IPAddress(v4: 0x0a00_02ff)),
            type: 6),
        Row(name: "no address at all", message: request(3), type: 6),
        Row(name: "selected without an offer", message: request(3, requested: other, server: Lab.gateway4), type: 6),
        Row(name: "selected another server", message: request(3, requested: other, server: other), type: nil),
        Row(name: "release", message: request(7, client: Lab.guest4, server: Lab.gateway4), type: nil),
        Row(name: "decline", message: request(4, requested: Lab.guest4, server: Lab.gateway4), type: nil),
        Row(name: "unknown type", message: request(99), type: nil),
        Row(name: "a server's message", message: request(2), type: nil),
    ]

    @Test("requests out of the blue", arguments: rows)
    func outOfTheBlue(_ row: Row) {
        var rig = Rig()
        let answer = Self.send(&rig, row.message)
        #expect(answer?.type == row.type)
    }

    @Test func clientsGetDifferentAddressesAndKeepThem() {
        var rig = Rig()
        var seen: Set<IPAddress> = []
        for number in UInt64(0)..<50 {
            let mac = MACAddress(rawValue: 0x5254_0000_1000 + number)
            let offer = Self.send(&rig, Self.request(1, mac: mac))
            let again = Self.send(&rig, Self.request(1, mac: mac))
            #expect(offer == again && offer?.mac == mac)
            if let address = offer?.address { seen.insert(address) }
        }
        #expect(seen.count == 50)
        #expect(
            seen.isDisjoint(with: [Lab.gateway4, Lab.alias4, IPAddress(v4: 0x0a00_0200), IPAddress(v4: 0x0a00_02ff)]))
    }

    @Test func aBootLoaderAndItsSystemAreOneGuest() {
        var rig = Rig()
        let first = Self.send(&rig, Self.request(1, identifier: [0, 1, 2, 3]))
        let second = Self.send(&rig, Self.request(1, identifier: [255, 9, 9, 9]))
        #expect(first == second && first?.address == Lab.guest4)
    }

    @Test func aDeclinedAddressRests() {
        var rig = Rig()
        _ = Self.send(&rig, Self.request(1))
        _ = Self.send(&rig, Self.request(3, requested: Lab.guest4, server: Lab.gateway4))
        _ = Self.send(&rig, Self.request(4, requested: Lab.guest4, server: Lab.gateway4))
        let next = Self.send(&rig, Self.request(1))
        #expect(next?.address != Lab.guest4 && next != nil)
        rig.now = rig.now + .seconds(700)
        let later = Self.send(&rig, Self.request(1))
        #expect(later?.address == Lab.guest4)
    }

    @Test func theTableIsBounded() {
        var rig = Rig()
        var answered = 0
        for number in UInt64(0)..<300 {
            let mac = MACAddress(rawValue: 0x5254_0001_0000 + number)
            if let offer = Self.send(&rig, Self.request(1, mac: mac)) {
                _ = Self.send(&rig, Self.request(3, mac: mac, requested: offer.address, server: Lab.gateway4))
                answered += 1
            }
        }
        #expect(answered == 252)
        #expect(rig.core.udp.dhcpv4.leaseCount <= 256)
    }

    @Test func truncationAtEveryLengthIsHarmless() {
        var rig = Rig()
        let message = Self.request(1)
        for length in 0..<message.count { _ = Self.send(&rig, Array(message[..<length])) }
        #expect(rig.drops(.malformedDHCP) >= 240)
    }

    // MARK: What is told to whom

    static let asksForAll: [UInt8] = [1, 3, 6, 12, 15, 26, 28, 42, 66, 67, 119, 121]

    /// The options of the answer to a DISCOVER with more options, and the fields `siaddr` and `file`.
    static func told(
        _ configuration: Configuration, _ more: [UInt8]
    ) -> (options: [UInt8: [UInt8]], server: [UInt8], file: String) {
        var rig = Rig(configuration)
        var message = Self.request(1)
        message.insert(contentsOf: more, at: 240)
        rig.send(
            GuestPacket.ipv4(
                from: .anyV4, to: .broadcast, IPProtocol.udp,
                GuestPacket.udp(
                    from: Endpoint(address: .anyV4, port: 68), to: Endpoint(address: .broadcast, port: 67), message)))
        guard let frame = rig.frames().first else { return ([:], [], "") }
        let bytes = Array(frame.payload[8...])
        var options: [UInt8: [UInt8]] = [:]
        var at = 240
        while at < bytes.count, bytes[at] != 255 {
            if bytes[at] == 0 {
                at += 1
                continue
            }
            options[bytes[at], default: []] += bytes[(at + 2)..<(at + 2 + Int(bytes[at + 1]))]
            at += 2 + Int(bytes[at + 1])
        }
        return (options, Array(bytes[20..<24]), String(decoding: bytes[108..<236].prefix { $0 != 0 }, as: UTF8.self))
    }

    @Test func onlyWhatIsAskedFor() {
        var configuration = Lab.configuration()
        configuration.leases.ntpServers = [Lab.remote4, Lab.remote6]
        configuration.leases.hosts = [.init(mac: Lab.guestMAC, name: "web")]
        configuration.leases.routes = [
            DHCPv4Route(destination: Prefix(address: IPAddress(v4: 0xc0a8_0000), length: 16)!, router: Self.other)
        ]
        let few = Self.told(configuration, [55, 2, 1, 3]).options
        #expect(Set(few.keys) == [1, 3, 51, 53, 54, 58, 59])
        let all = Self.told(configuration, [55, UInt8(Self.asksForAll.count)] + Self.asksForAll).options
        #expect(Set(all.keys) == Set(Self.asksForAll).subtracting([66, 67]).union([51, 53, 54, 58, 59]))
        #expect(all[12] == Array("web".utf8) && all[42] == [198, 51, 100, 7])
        // The default route is among them: a client that takes option 121 takes no option 3.
        #expect(all[121] == [16, 192, 168, 10, 0, 2, 99, 0, 10, 0, 2, 1])
    }

    struct Boot: CustomTestStringConvertible {
        var name: String
        var options: [UInt8] = []
        var file: String
        var server: [UInt8] = [10, 0, 2, 1]
        var testDescription: String { name }
    }

    static func option(_ code: UInt8, _ text: String) -> [UInt8] { [code, UInt8(text.utf8.count)] + Array(text.utf8) }
    static let boots = [
        Boot(name: "a BIOS", options: [93, 2, 0, 0], file: "undionly.kpxe"),
        Boot(name: "UEFI", options: [93, 2, 0, 7], file: "ipxe.efi"),
        Boot(name: "another firmware", options: [93, 2, 0, 99], file: "any"),
        Boot(name: "who does not say", file: "any"),
        Boot(
            name: "iPXE, as it says it", options: option(77, "iPXE") + [93, 2, 0, 0], file: "http://10.0.2.1/go.ipxe"),
        Boot(name: "iPXE, as RFC 3004 has it", options: option(77, "\u{4}iPXE"), file: "http://10.0.2.1/go.ipxe"),
        Boot(name: "iPXE, by its own option", options: [175, 3, 177, 1, 1], file: "http://10.0.2.1/go.ipxe"),
        Boot(
            name: "UEFI by HTTP", options: [93, 2, 0, 16] + option(60, "HTTPClient:Arch:00016:UNDI:003001"),
            file: "http://10.0.2.1/ipxe.efi"),
    ]

    @Test("boot files", arguments: boots)
    func bootFiles(_ row: Boot) {
        var configuration = Lab.configuration()
        configuration.leases.boot.files = [
            .init(architecture: .bios, name: "undionly.kpxe"), .init(architecture: nil, name: "any"),
            .init(architecture: .efi64, name: "ipxe.efi"),
        ]
        configuration.leases.boot.ipxeScript = "http://10.0.2.1/go.ipxe"
        let told = Self.told(configuration, row.options)
        #expect(told.file == row.file && told.options[67] == Array(row.file.utf8))
        #expect(told.server == row.server && told.options[66] == Array("10.0.2.1".utf8))
        #expect(told.options[60] == (row.name == "UEFI by HTTP" ? Array("HTTPClient".utf8) : nil))
        configuration.leases.boot = BootConfiguration()
        let nothing = Self.told(configuration, row.options)
        #expect(nothing.file == "" && nothing.server == [0, 0, 0, 0] && nothing.options[67] == nil)
    }

    @Test func amongSeveralStationsAMessageIsItsSendersOwn() {
        var configuration = Lab.configuration()
        configuration.hasManyStations = true
        var rig = Rig(configuration)
        #expect(Self.send(&rig, Self.request(1))?.type == 2)
        #expect(Self.send(&rig, Self.request(1, mac: MACAddress(rawValue: 0x5254_0000_0099))) == nil)
        #expect(rig.drops(.malformedDHCP) == 1)
    }
}
