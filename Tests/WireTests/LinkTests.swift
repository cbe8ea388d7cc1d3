import Testing
import Wire

let serverMAC = MACAddress("52:54:00:00:00:01")!
let clientMAC = MACAddress("52:54:00:00:00:02")!
let serverV4 = IPAddress("10.0.2.2")!
let clientV4 = IPAddress("10.0.2.15")!
let serverV6 = IPAddress("fd00::2")!
let clientV6 = IPAddress("fd00::15")!

@Suite struct EthernetTests {
    @Test func readsAFrame() throws {
        let arpReply = Captured.arpReply
        let view = try EthernetView(arpReply.rawSpan)
        check(view.destination, clientMAC)
        check(view.source, serverMAC)
        check(view.etherType, EtherType.arp)
        check(view.payload.byteCount, Captured.arpReply.count - 14)
    }

    @Test(arguments: Captured.all.indices)
    func writesTheHeaderItRead(_ index: Int) throws {
        let frame = Captured.all[index].frame
        let view = try EthernetView(frame.rawSpan)
        let header = EthernetHeader(destination: view.destination, source: view.source, etherType: view.etherType)
        #expect(written(64) { header.write(to: &$0, at: 0) } == Array(frame[..<14]))
    }

    @Test func needsAHeader() {
        checkThrows(.truncated) { () throws(ParseError) in
            _ = try EthernetView([UInt8](repeating: 0, count: 13).rawSpan)
        }
    }
}

@Suite struct ARPTests {
    @Test func readsAReply() throws {
        let arpReply = Captured.arpReply
        let view = try ARPView(EthernetView(arpReply.rawSpan).payload)
        check(view.operation, ARPOperation.reply)
        check(view.senderMAC, serverMAC)
        check(view.senderAddress, serverV4)
        check(view.targetMAC, clientMAC)
        check(view.targetAddress, clientV4)
    }

    @Test func writesTheReply() {
        let packet = ARPPacket(
            operation: ARPOperation.reply, senderMAC: serverMAC, senderAddress: serverV4, targetMAC: clientMAC,
            targetAddress: clientV4)
        #expect(written(28) { packet.write(to: &$0, at: 0) } == Array(Captured.arpReply[14..<42]))
    }

    @Test(arguments: [(0, 0), (1, 2), (2, 0x86), (4, 8), (5, 16)] as [(Int, UInt8)])
    func refusesOtherKinds(_ index: Int, _ value: UInt8) {
        var packet = Array(Captured.arpReply[14...])
        packet[index] = value == 0 ? 1 : value
        checkThrows(.badField) { () throws(ParseError) in _ = try ARPView(packet.rawSpan) }
    }
}
