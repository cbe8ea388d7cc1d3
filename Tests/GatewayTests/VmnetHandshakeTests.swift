import Testing
import Wire

@testable import Gateway

@Suite struct VmnetHandshakeTests {
    static let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"

    static func command(_ kind: UInt8 = 1, _ uuid: String = Self.uuid, address: [UInt8] = [0, 0, 0, 0]) -> [UInt8] {
        [kind] + Array(uuid.utf8) + address
    }

    static func mac(_ uuid: String) -> MACAddress? { VmnetHandshake.macAddress(ofUUID: Array(uuid.utf8).rawSpan) }

    @Test func isReadWhole() {
        let introduction = VmnetHandshake.introduction()
        #expect(introduction.count == VmnetHandshake.initLength)
        #expect(Array(introduction[..<9]) == [0x56, 0x4d, 0x4e, 0x33, 0x54, 22, 0, 0, 0])
        #expect(VmnetHandshake.introduction.step(introduction.rawSpan) == .introduced)
        #expect(
            VmnetHandshake.command.step(Self.command().rawSpan)
                == .asked(.init(mac: Self.mac(Self.uuid), preferred: nil)))
        // 192.168.65.10, its octets reversed.
        #expect(
            VmnetHandshake.command.step(Self.command(8, address: [10, 65, 168, 192]).rawSpan)
                == .asked(.init(mac: Self.mac(Self.uuid), preferred: IPAddress("192.168.65.10"))))
        let nameless = [1] + [UInt8](repeating: 0, count: 40)
        #expect(VmnetHandshake.command.step(nameless.rawSpan) == .asked(.init(mac: nil, preferred: nil)))
    }

    /// Whatever is cut is a start; what follows is left alone.
    @Test func isCutAtEveryLength() {
        for (phase, message) in [
            (VmnetHandshake.introduction, VmnetHandshake.introduction()), (.command, Self.command()),
            (.command, Self.command(8, address: [10, 65, 168, 192])),
        ] {
            for length in 0..<message.count { #expect(phase.step(Array(message[..<length]).rawSpan) == .more) }
            #expect(phase.step((message + [1, 2, 3]).rawSpan) == phase.step(message.rawSpan))
        }
    }

    @Test func nonsenseIsRefusedAtItsFirstByte() {
        func isRefused(_ phase: VmnetHandshake, _ bytes: [UInt8]) -> Bool {
            if case .refused(_, answers: false) = phase.step(bytes.rawSpan) { true } else { false }
        }
        #expect(isRefused(.introduction, [0]))
        #expect(isRefused(.introduction, Array("VMNET".utf8)))
        #expect(isRefused(.command, [6]))
        #expect(isRefused(.command, Self.command(1, "0f8fad5bd-9cb-469f-a165-70867728950e")))
        #expect(isRefused(.command, Self.command(1, "0f8fad5b-d9cb-469f-a165+70867728950e")))
        #expect(isRefused(.command, Self.command(1, "0f8fad5b-d9cb-469f-a165-7086772895zz")))
        var other = VmnetHandshake.introduction()
        other[5] = 23
        guard case .refused(let why, answers: true) = VmnetHandshake.introduction.step(other.rawSpan) else {
            Issue.record("another version is not answered")
            return
        }
        #expect(why.contains("23"))
    }

    @Test func anythingMayCome() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var bytes = random.next() & 1 == 0 ? VmnetHandshake.introduction() : Self.command(8)
            for _ in 0..<Int.random(in: 0...3) { bytes[Int.random(in: 0..<bytes.count)] = UInt8.random(in: 0...255) }
            bytes = Array(bytes[..<Int.random(in: 0...bytes.count)])
            for phase in [VmnetHandshake.introduction, .command] {
                if case .asked(let request) = phase.step(bytes.rawSpan), let mac = request.mac {
                    #expect(!mac.isMulticast)
                }
            }
        }
    }

    @Test func aUUIDIsOneStation() {
        let mac = Self.mac(Self.uuid)
        #expect(mac == Self.mac(Self.uuid.uppercased()))
        #expect(mac != Self.mac("0f8fad5b-d9cb-469f-a165-70867728950f"))
        // Locally administered, one station; and the same in the next version of Portolan, or leases are lost.
        #expect(mac.map { $0.rawValue >> 40 & 3 } == 2)
        #expect(mac == MACAddress("fe:c8:5d:25:fe:6c"))
    }

    @Test func answers() {
        let answer = VmnetHandshake.response(mtu: 1500, mac: MACAddress(rawValue: 0x0250_0000_0001))
        #expect(answer.count == 258)
        #expect(Array(answer[..<12]) == [1, 0xdc, 5, 0x0e, 6, 2, 0x50, 0, 0, 0, 1, 0])
        #expect(Array(VmnetHandshake.response(mtu: 65_520, mac: .zero)[1...4]) == [0xf0, 0xff, 0xff, 0xff])
        let refusal = VmnetHandshake.refusal("no")
        #expect(refusal.count == 258 && Array(refusal[..<5]) == [2, 2, 0x6e, 0x6f, 0])
        #expect(VmnetHandshake.refusal(String(repeating: "x", count: 999)).count == 258)
    }
}
