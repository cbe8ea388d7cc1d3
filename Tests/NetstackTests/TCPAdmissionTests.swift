@testable import Netstack
import Testing
import Wire

// RFC 9293 section 3.10.7.4 as a table: a segment, a connection, and what `admit` must say. The connection: irs 1000,
// rcv.nxt 2000, window 4000; snd.una 7000, snd.nxt 9000, the guest's largest window 10,000.

struct AdmissionRow: CustomTestStringConvertible, Sendable {
    var name: String
    var seq: UInt32 = 2000
    var ack: UInt32 = 8000
    var flags: TCPFlags = [.ack]
    var length = 0
    var timestamp: UInt32?
    var state = Connection.State.established
    var window = 4000
    var timestamps = false
    var expected: Disposition
    var testDescription: String { name }

    static let rows: [AdmissionRow] = [
        // First: the sequence number, table 6.
        .init(name: "an empty ACK at rcv.nxt", expected: .process),
        .init(name: "an empty ACK inside the window", seq: 5999, expected: .process),
        .init(name: "an empty ACK at the window's end, from a guest that used it up", seq: 6000, expected: .process),
        .init(name: "an empty ACK beyond the window", seq: 6001, expected: .acknowledge),
        .init(name: "a keep-alive probe", seq: 1999, expected: .acknowledge),
        .init(name: "text at rcv.nxt", length: 100, expected: .process),
        .init(name: "text that is old but for its last byte", seq: 1901, length: 100, expected: .process),
        .init(name: "text that is wholly old", seq: 1900, length: 100, expected: .acknowledge),
        .init(name: "text whose first byte is the window's last", seq: 5999, length: 100, expected: .process),
        .init(name: "text beyond the window", seq: 6000, length: 100, expected: .acknowledge),
        .init(name: "an old FIN", seq: 1999, flags: [.fin, .ack], expected: .acknowledge),
        .init(name: "an exact FIN", flags: [.fin, .ack], expected: .process),
        .init(name: "a closed window takes an empty ACK", window: 0, expected: .process),
        .init(name: "a closed window takes no text", length: 1, window: 0, expected: .acknowledge),
        .init(name: "a closed window takes no later ACK", seq: 2001, window: 0, expected: .acknowledge),
        .init(
            name: "a sequence number half the space away", seq: 2000 &+ 0x8000_0000, length: 10, expected: .acknowledge),
        // Second: RST, RFC 5961 section 3.2.
        .init(name: "an exact RST", flags: [.rst], expected: .aborted),
        .init(name: "a RST in the window", seq: 2001, flags: [.rst], expected: .challenge),
        .init(name: "a RST outside of the window", seq: 7000, flags: [.rst], expected: .discard),
        .init(name: "an exact RST to a closed window", flags: [.rst], window: 0, expected: .aborted),
        .init(name: "an exact RST in SYN-RECEIVED", flags: [.rst], state: .synReceived, expected: .aborted),
        // Fourth: SYN, RFC 5961 section 4.2.
        .init(name: "a SYN in the window", seq: 2500, flags: [.syn], expected: .challenge),
        .init(name: "a SYN-ACK in the window", flags: [.syn, .ack], expected: .challenge),
        .init(name: "a SYN outside of the window", seq: 90_000, flags: [.syn], expected: .acknowledge),
        .init(
            name: "the first SYN again in SYN-RECEIVED", seq: 1000, flags: [.syn], state: .synReceived,
            expected: .repeatSynAck),
        .init(
            name: "another SYN in SYN-RECEIVED", seq: 90_000, flags: [.syn], state: .synReceived, expected: .acknowledge
        ),
        // Fifth: ACK.
        .init(name: "a segment without ACK", flags: [], length: 10, expected: .discard),
        .init(name: "an ACK of everything", ack: 9000, expected: .process),
        .init(name: "an ACK of what was not sent", ack: 9001, expected: .challenge),
        .init(name: "a duplicate ACK", ack: 7000, expected: .process),
        .init(
            name: "an old ACK within the largest window (RFC 5961 section 5.2)", ack: 7000 &- 10_000, expected: .process
        ),
        .init(name: "an ACK older than the largest window", ack: 7000 &- 10_001, expected: .challenge),
        .init(name: "SYN-RECEIVED: an ACK of our SYN", state: .synReceived, expected: .process),
        .init(name: "SYN-RECEIVED: an ACK of nothing", ack: 7000, state: .synReceived, expected: .reset),
        .init(name: "SYN-RECEIVED: an ACK of what was not sent", ack: 9001, state: .synReceived, expected: .reset),
        // PAWS, RFC 7323 section 5.3.
        .init(name: "a newer timestamp", timestamp: 501, timestamps: true, expected: .process),
        .init(name: "the same timestamp", timestamp: 500, timestamps: true, expected: .process),
        .init(name: "an older timestamp", timestamp: 499, timestamps: true, expected: .acknowledge),
        .init(name: "a timestamp that wrapped", timestamp: 500 &+ 0x7fff_ffff, timestamps: true, expected: .process),
        .init(name: "no timestamp where one was agreed", timestamps: true, expected: .discard),
        .init(name: "a RST needs no timestamp", flags: [.rst], timestamps: true, expected: .aborted),
        .init(name: "a RST may be old by PAWS", flags: [.rst], timestamp: 1, timestamps: true, expected: .aborted),
    ]
}

@Suite struct TCPAdmissionTests {
    @Test(arguments: AdmissionRow.rows, [0, UInt32.max - 3000, UInt32.max - 8500])
    func admission(row: AdmissionRow, shift: UInt32) {
        func number(_ value: UInt32) -> SequenceNumber { SequenceNumber(rawValue: value &+ shift) }
        let key = FlowKey(
            guest: Endpoint(address: IPAddress(v4: 1), port: 1), remote: Endpoint(address: IPAddress(v4: 2), port: 2))
        var connection = Connection(key: key, guestMAC: MACAddress(rawValue: 2))
        connection.state = row.state
        connection.rcv.irs = number(1000)
        connection.rcv.nxt = number(2000)
        connection.rcv.edge = number(2000) + row.window
        connection.rcv.tsRecent = 500
        connection.snd.una = number(7000)
        connection.snd.nxt = number(9000)
        connection.snd.maxWindow = 10_000
        if row.timestamps { connection.flags.insert(.timestamps) }
        var options = TCPOptions()
        if let value = row.timestamp { options.timestamps = (value: value, echoReply: 0) }
        let segment = Segment(
            seq: number(row.seq), ack: number(row.ack), flags: row.flags, window: 100, length: row.length,
            options: options)
        #expect(connection.admit(segment) == row.expected)
    }
}
