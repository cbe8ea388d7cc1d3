@testable import Gateway
import Netstack
import Testing
import Wire

// What the links of virtual machines are made of, apart from sockets: addresses, framing, and who is behind which port.

@Suite struct LinkFramingTests {
    /// Everything that the framing finds in `bytes`.
    static func all(_ framing: LinkFraming, _ bytes: [UInt8]) -> [LinkFraming.Next] {
        var found: [LinkFraming.Next] = []
        var at = 0
        while true {
            let next = framing.next(in: unsafe bytes.span.bytes, at: at)
            found.append(next)
            switch next {
            case .frame(let range): at = range.upperBound
            case .empty(let after): at = after
            case .more, .bad: return found
            }
        }
    }

    @Test func bigEndianFourBytes() {
        #expect(Self.all(.length32, [0, 0, 0, 3, 7, 8, 9, 0, 0, 0, 1, 5]) == [.frame(4..<7), .frame(11..<12), .more])
        #expect(Self.all(.length32, [0, 0, 0, 0, 0, 0, 0, 2, 1, 2]) == [.empty(next: 4), .frame(8..<10), .more])
        #expect(Self.all(.length32, [0, 1, 0x10, 0]) == [.more])
        #expect(Self.all(.length32, [0, 1, 0x10, 1]) == [.bad])
        #expect(Self.all(.length32, [0xff, 0xff, 0xff, 0xff]) == [.bad])
    }

    @Test func littleEndianTwoBytes() {
        #expect(Self.all(.length16, [3, 0, 7, 8, 9, 1, 0, 5]) == [.frame(2..<5), .frame(7..<8), .more])
        #expect(Self.all(.length16, [0, 1]) == [.more])
        #expect(Self.all(.length16, [0, 0]) == [.empty(next: 2), .more])
    }

    @Test(arguments: [LinkFraming.length32, .length16])
    func whateverIsCutIsTheStartOfAFrame(framing: LinkFraming) {
        var bytes: [UInt8] = []
        for length in [1, 14, 60, 1514] {
            let frame = [UInt8](repeating: UInt8(length & 0xff), count: length)
            var prefix = [UInt8](repeating: 0, count: framing.prefix)
            var span = prefix.mutableSpan
            var raw = unsafe span.mutableBytes
            framing.write(length, to: &raw, at: 0)
            bytes += prefix + frame
        }
        #expect(Self.all(framing, bytes).count == 5)
        for cut in 0..<bytes.count {
            let found = Self.all(framing, Array(bytes[..<cut]))
            #expect(found.last == .more && found.count <= 4)
        }
    }
}

@Suite struct LinkAddressTests {
    @Test(arguments: [
        ("qemu:/run/a b.sock", LinkAddress.Place.stream(path: "/run/a b.sock")),
        ("qemu:relative", .stream(path: "relative")),
        ("dgram:/x", .datagram(path: "/x")), ("vfkit:/x:y", .vfkit(path: "/x:y")), ("bess:/x", .packets(path: "/x")),
        ("stdio", .stdio), ("fd:7", .descriptor(7)), ("vmnet:/x", .vmnet(path: "/x")),
        ("vsock:1024", .vsock(port: 1024)),
        ("hybrid-vsock:/x_y_1024", .hybridVsock(path: "/x_y_1024")), ("serial:/dev/pts/3", .serial(path: "/dev/pts/3")),
        ("tcp://127.0.0.1:80", .tcp(Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 80))),
        ("tcp://[::1]:65535", .tcp(Endpoint(address: IPAddress(hi: 0, lo: 1), port: 65_535))),
    ])
    func isRead(text: String, place: LinkAddress.Place) {
        #expect(LinkAddress(text)?.place == place)
    }

    @Test(arguments: [
        "", "qemu", "qemu:", "stdio:", "fd:", "fd:-1", "fd:x", "tcp:127.0.0.1:1", "tcp://localhost:1",
        "tcp://127.0.0.1", "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536", "vsock:", "vsock:4294967295", "vsock:2:1", "hybrid-vsock:/x", "hybrid-vsock:/x_",
        "vmnet:", "qemu:a\0b",
    ])
    func isNone(text: String) {
        #expect(LinkAddress(text) == nil)
    }
}

@Suite struct StationTableTests {
    static func mac(_ number: Int) -> MACAddress { MACAddress(rawValue: 0x5254_0000_0000 + UInt64(number)) }

    @Test func aStationStaysWithItsPort() {
        var table = StationTable(ports: 4, seed: 7)
        #expect(table.learn(Self.mac(1), port: 0) == true)
        #expect(table.learn(Self.mac(1), port: 0) == true)
        #expect(table.learn(Self.mac(1), port: 2) == false)
        #expect(table.port(of: Self.mac(1)) == 0)
        #expect(table.port(of: Self.mac(2)) == nil)
        // Until that is gone.
        table.forget(port: 0)
        #expect(table.port(of: Self.mac(1)) == nil)
        #expect(table.learn(Self.mac(1), port: 2) == true)
        #expect(table.port(of: Self.mac(1)) == 2)
    }

    @Test func aPortThatInventsStationsHurtsItselfAlone() {
        var table = StationTable(ports: 4, seed: 7)
        #expect(table.learn(Self.mac(0), port: 1) == true)
        for i in 1...1000 { #expect(table.learn(Self.mac(i), port: 0) == true) }
        #expect(table.count == StationTable.perPort + 1)
        #expect(table.port(of: Self.mac(0)) == 1)
        // Its oldest went first.
        #expect(table.port(of: Self.mac(1)) == nil)
        #expect(table.port(of: Self.mac(1000)) == 0)
        #expect(table.port(of: Self.mac(1001 - StationTable.perPort)) == 0)
        table.forget(port: 0)
        #expect(table.count == 1)
    }
}
