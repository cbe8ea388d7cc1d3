import Testing
import Wire

@testable import Agent

@Suite struct AgentPeerTests {
    @Test(arguments: [
        ("vsock:1024", AgentPeer.Place.vsock(cid: 2, port: 1024)), ("vsock:1:7", .vsock(cid: 1, port: 7)),
        ("serial:/dev/ttyS1", .serial(path: "/dev/ttyS1")), ("unix:/x y", .unix(path: "/x y")),
        ("qemu:x", .qemu(path: "x")),
        ("tcp://10.0.0.1:1", .tcp(Endpoint(address: IPAddress(v4: 0x0a00_0001), port: 1))), ("stdio", .stdio),
        ("fd:3", .descriptor(3)),
    ])
    func isRead(text: String, place: AgentPeer.Place) {
        #expect(AgentPeer(text)?.place == place)
    }

    @Test(arguments: [
        "", "vsock", "vsock:", "vsock:x", "vsock:1:2:3", "vsock::1", "vsock:4294967295", "serial:", "unix:",
        "tcp://x:1", "stdio:", "fd:-1",
        "hybrid-vsock:/x_1",
    ])
    func isNone(text: String) {
        #expect(AgentPeer(text) == nil)
    }
}
