package import Wire

// A scripted peer: a text file that says, line by line, what a guest sends, what it must get back, and what the host's application
// does meanwhile. docs/tcp-scripts.md has the grammar.
//
//   Tests/Scripts/*.pkt ─▶ ScriptParser ─▶ Script ─▶ ScriptRunner: the core on the virtual clock (here)
//                       └▶ Tests/e2e/scripts.py: the Linux kernel as the passive TCP behind a tap, in real time
//
// Both runners hold the core and the kernel to the same lines, so a script that passes in both says that they answer alike. Where
// they rightly differ, a line is marked with its side and stands behind a `differs:` that says why.
//
// Every segment must be expected: one that no line takes is an error, at the next silence or the end at the latest.

/// A parsed script: the events of one side, in order.
package struct Script: Sendable {
    /// Whose answers the script describes.
    package enum Side: String, Sendable, CaseIterable { case portolan, linux }

    /// The file's name, for messages.
    package var name: String
    package var isV4 = true
    package var mtu = 1500
    /// The guest's initial sequence number.
    package var isn: UInt32 = 1_000_000
    /// Bytes of the host socket's buffer for what the guest sends.
    package var buffer: Int?
    /// The only side that can run the script, and why.
    package var only: (side: Side, reason: String)?
    package var events: [ScriptEvent] = []
}

/// One line.
package struct ScriptEvent: Sendable {
    package var line: Int
    /// Nanoseconds after the event before: the earliest, and for an expectation the latest.
    package var after: ClosedRange<Int64>
    package var action: ScriptAction
}

package enum ScriptAction: Sendable {
    case inject(ScriptSegment)
    case expect(ScriptSegment)
    /// The guest complains that a segment with this relative sequence number is too big for an MTU of its own.
    case injectTooBig(mtu: Int, sequence: ScriptNumber)
    /// An ICMP error about the guest's last segment.
    case expectICMP(ScriptUnreachable)
    /// Nothing comes during the time of this line.
    case wait
    /// The guest sends segments until the window that it was offered is used up.
    case fill
    /// The window offered last, in bytes.
    case window(ScriptBound)
    case host(ScriptHostAction)
}

package enum ScriptUnreachable: String, Sendable, CaseIterable { case net, host, port, prohibited }

package enum ScriptHostAction: Sendable, Equatable {
    case connect(ScriptConnect)
    /// It opens the connection towards the guest, as the client of a forwarded port does.
    case connects
    /// Its last byte as out-of-band data (MSG_OOB) when urgent.
    case writes(Int, urgent: Bool)
    /// nil: whatever comes, from now on.
    case reads(Int?)
    case stopsReading
    case shutsDown
    case closes
    case resets
    /// It has received so many bytes, and they are the guest's.
    case has(Int)
    /// Which bytes, counted from 1, came as out-of-band data: these and no others.
    case hasUrgent([Int])
    case hasEnd
    case hasReset
}

package enum ScriptConnect: String, Sendable, CaseIterable { case succeeds, refused, unreachable, prohibited, times }

/// `0`, `>0`, or exactly a number.
package enum ScriptBound: Sendable, Equatable {
    case exactly(Int)
    case positive

    package func holds(_ value: Int) -> Bool {
        switch self {
        case .exactly(let number): value == number
        case .positive: value > 0
        }
    }
}

/// A sequence number relative to its sender's initial one: a number, or `@` (the sender's next) with an offset.
package struct ScriptNumber: Sendable, Equatable {
    package var isNext = false
    package var offset = 0

    package func resolved(next: Int) -> Int { isNext ? next + offset : offset }
}

/// A TCP segment as a line writes it.
package struct ScriptSegment: Sendable {
    package var flags: TCPFlags
    package var sequence: ScriptNumber
    package var length: Int
    package var ack: ScriptNumber?
    /// As in the header.
    package var window: ScriptBound?
    /// 0 without URG.
    package var urgent = 0
    /// nil: none but timestamps, which are not compared.
    package var options: ScriptOptions?
}

/// nil in a value: any.
package struct ScriptOptions: Sendable {
    package var mss: Int?
    package var sackPermitted = false
    package var windowScale: Int??
    /// `*` in an injected segment echoes what came last.
    package var timestamps: (value: UInt32?, echo: UInt32?)?
    package var sacks: [(left: ScriptNumber, right: ScriptNumber)] = []
}
