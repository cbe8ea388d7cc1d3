import Testing
import Wire

@testable import Resolver

@Suite struct MachineNamesTests {
    static func mac(_ number: UInt64) -> MACAddress { MACAddress(rawValue: 0x5254_0000_0000 + number) }
    static func v4(_ last: UInt32) -> IPAddress { IPAddress(v4: 0x0a00_0200 + last) }
    static func name(_ label: String) -> DNSName { DNSName(label + ".vm.internal")! }
    static let v6 = IPAddress(hi: 0xfd00 << 48, lo: 9)

    @Test func aNameIsTheFirstsThatHasIt() {
        var names = MachineNames()
        #expect(names.leased(Self.v4(2), mac: Self.mac(1), label: "web") == true)
        #expect(names.leased(Self.v6, mac: Self.mac(1), label: "") == true)
        #expect(names.leased(Self.v4(3), mac: Self.mac(2), label: "web") == false)
        #expect(names.addresses(of: Self.name("web")) == [Self.v4(2), Self.v6])
        #expect(names.addresses(of: Self.name("WEB")) == [Self.v4(2), Self.v6])
        #expect(names.name(of: Self.v6) == Self.name("web") && names.name(of: Self.v4(3)) == nil)
        // As long as it has an address.
        names.ended(Self.v4(2), mac: Self.mac(1))
        #expect(names.leased(Self.v4(3), mac: Self.mac(2), label: "web") == false)
        names.ended(Self.v6, mac: Self.mac(1))
        #expect(names.addresses(of: Self.name("web")) == nil && names.name(of: Self.v6) == nil)
        #expect(names.leased(Self.v4(3), mac: Self.mac(2), label: "web") == true)
        // Another name in its place.
        #expect(names.leased(Self.v4(3), mac: Self.mac(2), label: "db") == true)
        #expect(names.addresses(of: Self.name("web")) == nil && names.addresses(of: Self.name("db")) == [Self.v4(3)])
        #expect(names.count == 1)
    }

    @Test func aFixedNameIsNeverAnothers() {
        var names = MachineNames()
        names.fix("web", mac: Self.mac(1), addresses: [Self.v4(10)])
        names.fix("db", mac: Self.mac(2), addresses: [])
        names.fix(nil, mac: Self.mac(3), addresses: [Self.v4(11)])
        #expect(names.leased(Self.v4(5), mac: Self.mac(4), label: "db") == false)
        #expect(names.addresses(of: Self.name("db")) == [])
        // Its own machine's word does not count.
        #expect(names.leased(Self.v4(10), mac: Self.mac(1), label: "other") == true)
        #expect(names.addresses(of: Self.name("other")) == nil)
        #expect(names.addresses(of: Self.name("web")) == [Self.v4(10)])
        names.ended(Self.v4(10), mac: Self.mac(1))
        #expect(names.addresses(of: Self.name("web")) == [Self.v4(10)])
        #expect(names.name(of: Self.v4(10)) == Self.name("web"))
        // A fixed address, and a name from the machine.
        #expect(names.leased(Self.v4(11), mac: Self.mac(3), label: "c") == true)
        #expect(names.addresses(of: Self.name("c")) == [Self.v4(11)])
    }

    @Test(
        arguments: [
            ("web.vm.internal", 1, 0, [[10, 0, 2, 10]]), ("Web.VM.internal", 28, 0, []), ("web.vm.internal", 16, 0, []),
            ("vm.internal", 1, 0, []), ("nobody.vm.internal", 1, 3, []), ("a.web.vm.internal", 1, 3, []),
            ("10.2.0.10.in-addr.arpa", 12, 0, [Messages.name("web.vm.internal")]),
        ] as [(String, Int, Int, [[UInt8]])])
    func isAnsweredHere(question: String, type: Int, rcode: Int, data: [[UInt8]]) throws {
        let bench = Bench(hosts: "")
        bench.forwarder.names.machines = MachineNames()
        bench.forwarder.names.machines?.fix("web", mac: Self.mac(1), addresses: [Self.v4(10)])
        bench.query(Messages.query(question, type: type))
        #expect(bench.sent.isEmpty)
        let answer = try #require(bench.answers.first?.bytes)
        #expect(Messages.rcode(answer) == rcode)
        #expect(
            Array(answer[12...]).count == Messages.query(question, type: type).count - 12
                + data.map { $0.count + 12 }.reduce(0, +))
        for part in data { #expect(Array(answer.suffix(part.count)) == part) }
    }

    @Test func withoutMachinesTheirDomainIsAsAnyOther() {
        let bench = Bench(hosts: "")
        bench.query(Messages.query("web.vm.internal", type: 1))
        #expect(bench.sent.count == 1)
    }
}
