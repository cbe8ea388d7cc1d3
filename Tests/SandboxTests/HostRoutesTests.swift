import Testing
import Wire

@testable import Sandbox

/// What counts as a network of the host's own. The tables are as a laptop with a VPN has them.
struct HostRoutesTests {
    @Test func v4() {
        let table = """
            Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
            tun0\t0000000A\t0100080A\t0003\t0\t0\t50\t000000FF\t0\t0\t0
            *\t0000A8C0\t00000000\t0200\t0\t0\t0\t0000FFFF\t0\t0\t0
            broken
            eth0\tzz
            """
        let found = HostRoutes.v4(table)
        #expect(found.map(\.interface) == ["eth0", "tun0"])
        #expect(found.map { "\($0.prefix)" } == ["192.0.2.0/24", "10.0.0.0/8"])
    }

    @Test func v6() {
        let none = String(repeating: "0", count: 32)
        func line(_ destination: String, _ length: String, _ flags: String, _ interface: String) -> String {
            "\(destination) \(length) \(none) 00 \(none) 00000100 00000001 00000000 \(flags) \(interface)"
        }
        let table = [
            line("fd000000000000000000000000000000", "40", "00000001", "eth0"),
            line("fe800000000000000000000000000000", "40", "00000001", "eth0"),
            line("ff000000000000000000000000000000", "08", "00000001", "eth0"),
            line(none, "00", "00000003", "eth0"),
            line("00000000000000000000000000000001", "80", "80200001", "lo"),
            line("fd010000000000000000000000000000", "30", "00000200", "eth0"),
            line("20010db8000400000000000000000000", "30", "00000003", "tun0"),
            "broken",
        ].joined(separator: "\n")
        let found = HostRoutes.v6(table)
        #expect(found.map(\.interface) == ["eth0", "tun0"])
        #expect(found.map { "\($0.prefix)" } == ["fd00::/64", "2001:db8:4::/48"])
    }

    @Test func tablesOfThisMachineAreRead() {
        // Whatever they hold: no trap, and nothing of length 0.
        for route in HostRoutes.all() { #expect(route.prefix.length > 0) }
        for own in HostAddresses.prefixes() { #expect(HostAddresses.collision(with: own.prefix) != nil) }
    }
}

struct HostResolverFileTests {
    @Test func keepsWholeLines() {
        let text = "# search no\nnameserver 10.0.0.1\nsearch a.test b.test\n\toptions ndots:2\ndomain\nsearching x\n"
        #expect(
            HostResolverFile.lines(of: text, keyed: ["search", "domain", "options"])
                == ["search a.test b.test", "\toptions ndots:2"])
    }
}

struct SandboxErrorTests {
    @Test func appendsTheReason() {
        #expect(SandboxError("cannot do it", errno: 2).description == "cannot do it: No such file or directory")
    }

    @Test(arguments: [
        (UInt32(0x6f), nil as String?), (0x0f, "UDP segmentation (Linux 6.2)"),
        (0x01, "TCP segmentation, UDP segmentation (Linux 6.2)"),
        (0, "checksum, TCP segmentation, UDP segmentation (Linux 6.2)"),
    ]) func namesWhatIsMissing(_ features: UInt32, _ missing: String?) {
        #expect(TapFeatures(rawValue: features).missing == missing)
    }
}
