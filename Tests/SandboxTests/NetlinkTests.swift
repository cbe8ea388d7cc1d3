import Testing
import Wire

@testable import Sandbox

/// Requests against bytes as `strace -e trace=sendto -e write=all ip ...` shows them on a little-endian machine (rtnetlink(7)).
struct NetlinkTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let name: String
        let message: NetlinkMessage
        let bytes: String
        var testDescription: String { name }
    }

    static let rows = [
        Row(
            name: "lo up", message: .up(1),
            bytes: """
                20000000 1000 0500 01000000 00000000
                00 00 0000 01000000 01000000 01000000
                """),
        Row(
            name: "tap up with MTU, queue and MAC",
            message: .up(7, mtu: 65520, queue: 1000, mac: MACAddress("52:54:00:12:34:56")),
            bytes: """
                3c000000 1000 0500 01000000 00000000
                00 00 0000 07000000 01000000 01000000
                0a00 0100 525400123456 0000
                0800 0400 f0ff0000
                0800 0d00 e8030000
                """),
        Row(
            name: "tap prepared and left down", message: .prepare(7, mtu: 1500, queue: 1000, mac: nil),
            bytes: """
                30000000 1000 0500 01000000 00000000
                00 00 0000 07000000 00000000 00000000
                0800 0400 dc050000
                0800 0d00 e8030000
                """),
        Row(
            name: "move to another namespace", message: .move(7, toNamespace: 5),
            bytes: """
                28000000 1000 0500 01000000 00000000
                00 00 0000 07000000 00000000 00000000
                0800 1c00 05000000
                """),
        Row(
            name: "an IPv4 address with its broadcast",
            message: .address(
                IPAddress(v4: 0x0a00_0202), prefixLength: 24, on: 7, broadcast: IPAddress(v4: 0x0a00_02ff)),
            bytes: """
                30000000 1400 0505 01000000 00000000
                02 18 00 00 07000000
                0800 0100 0a000202
                0800 0200 0a000202
                0800 0400 0a0002ff
                """),
        Row(
            name: "an IPv6 address without duplicate address detection",
            message: .address(IPAddress(hi: 0xfd00_706f_7274_0000, lo: 2), prefixLength: 64, on: 7, broadcast: nil),
            bytes: """
                48000000 1400 0505 01000000 00000000
                0a 40 00 00 07000000
                1400 0100 fd00706f727400000000000000000002
                1400 0200 fd00706f727400000000000000000002
                0800 0800 02000000
                """),
        Row(
            name: "the IPv4 default route", message: .defaultRoute(via: IPAddress(v4: 0x0a00_0201), on: 7),
            bytes: """
                2c000000 1800 0505 01000000 00000000
                02 00 00 00 fe 04 00 01 00000000
                0800 0500 0a000201
                0800 0400 07000000
                """),
        Row(
            name: "the IPv6 default route",
            message: .defaultRoute(via: IPAddress(hi: 0xfd00_706f_7274_0000, lo: 1), on: 7),
            bytes: """
                38000000 1800 0505 01000000 00000000
                0a 00 00 00 fe 04 00 01 00000000
                1400 0500 fd00706f727400000000000000000001
                0800 0400 07000000
                """),
        Row(
            name: "a neighbour of IPv4",
            message: .neighbour(IPAddress(v4: 0x0a00_0201), at: MACAddress("5e:70:6f:72:74:01")!, on: 7),
            bytes: """
                30000000 1c00 0505 01000000 00000000
                02 00 0000 07000000 0200 00 00
                0800 0100 0a000201
                0a00 0200 5e706f727401 0000
                """),
        Row(
            name: "a neighbour of IPv6",
            message: .neighbour(
                IPAddress(hi: 0xfd00_706f_7274_0000, lo: 1), at: MACAddress("5e:70:6f:72:74:01")!, on: 7),
            bytes: """
                3c000000 1c00 0505 01000000 00000000
                0a 00 0000 07000000 0200 00 00
                1400 0100 fd00706f727400000000000000000001
                0a00 0200 5e706f727401 0000
                """),
    ]

    @Test(arguments: rows) func bytes(_ row: Row) {
        #expect(hexadecimal(row.message.bytes) == row.bytes.filter { !$0.isWhitespace })
    }

    @Test func attributesArePadded() {
        var message = NetlinkMessage(type: 16, create: false, body: [])
        for length in 0...9 { message.attribute(3, [UInt8](repeating: 0xaa, count: length)) }
        let whole = message.bytes
        #expect(whole.count % 4 == 0)
        #expect(Int(whole[0]) + Int(whole[1]) << 8 == whole.count)
        // Walk them as the kernel does.
        var at = 16
        for length in 0...9 {
            #expect(Int(whole[at]) == 4 + length)
            #expect(whole[at + 2] == 3)
            at += (4 + length + 3) & ~3
        }
        #expect(at == whole.count)
    }

    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
