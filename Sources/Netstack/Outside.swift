package import Wire

/// What the core asks of the world around it.
///
/// The core has no clock and no I/O. Whatever it wants done, it asks for here, at the moment it knows: the shell
/// (`Gateway`) answers with real sockets and a real link, the simulator (`Simnet`) with scripted ones. The calls are
/// synchronous because the stack's decisions need the answer: how much of a segment the host's socket took decides
/// what is acknowledged (docs/decisions/001).
///
/// No call may call back into the core. None blocks.
package protocol Outside: ~Copyable {
    // MARK: Towards the guest

    /// Sends one frame: `header` (Ethernet up to and including the transport header) followed by `payload`.
    ///
    /// The frame may be a super-frame: `offload` says what is left to the link (checksum, segmentation).
    /// - Returns: false when the link cannot take the frame now; the caller keeps its state and tries again at the next flush.
    mutating func transmit(_ offload: OffloadHeader, header: RawSpan, payload: RawSpan) -> Bool

    // MARK: TCP sockets on the host

    /// Opens a stream socket for `flow` and starts to connect it. The answer, if `.wouldBlock`, comes as `Core.hostConnected`.
    /// Once connected, its readiness to read is watched.
    mutating func connect(_ flow: FlowID, to target: HostTarget) -> HostResult
    /// Gives bytes to the flow's socket. `.done(n)`: the socket took the first n.
    mutating func send(_ flow: FlowID, _ bytes: RawSpan) -> HostResult
    /// Reads from the flow's socket into `spaces`, once. `.done(0)` is the end of the stream.
    mutating func receive(_ flow: FlowID, into spaces: inout ChunkSpaces) -> HostResult
    /// Gives one byte to the flow's socket as urgent (out-of-band) data.
    mutating func sendUrgent(_ flow: FlowID, _ byte: UInt8) -> HostResult
    /// Takes the urgent byte of which `Core.hostUrgent` told, if it is what the next read would give.
    mutating func receiveUrgent(_ flow: FlowID) -> UrgentByte
    /// Ends our half of the stream (FIN).
    mutating func shutdownWrite(_ flow: FlowID)
    /// Closes the flow's socket, of whatever kind. `reset` aborts a stream (RST instead of FIN).
    mutating func close(_ flow: FlowID, reset: Bool)
    /// Says which readiness of the flow's socket the core wants to hear of. Errors are always heard of, but for a socket of which
    /// nothing is wanted.
    mutating func watch(_ flow: FlowID, read: Bool, write: Bool, urgent: Bool)

    // MARK: Datagram and echo sockets on the host

    /// Opens an unconnected UDP socket that speaks `family` for the guest's endpoint `flow`. Readiness to read is watched from then on.
    mutating func openDatagram(_ flow: FlowID, isV4: Bool, preferredPort: UInt16) -> HostResult
    /// Sends one datagram (at most 65507 bytes). Errors that come later arrive as `Core.hostDatagramError`.
    mutating func sendDatagram(_ flow: FlowID, to target: HostTarget, _ bytes: RawSpan, _ options: DatagramOptions)
        -> HostResult
    /// Sends the guest's answer to a client of forwarded port `port`, from the address that the client had asked: one datagram, or several
    /// of `size` bytes each but for a shorter last one.
    mutating func sendServed(
        _ port: UInt32, path: DatagramPath, to client: Endpoint, _ bytes: RawSpan, size: Int, _ options: DatagramOptions
    ) -> HostResult
    /// Opens an unprivileged ICMP or ICMPv6 echo socket (`ping(7)`-style) for one guest identifier. Watched from then on.
    mutating func openEcho(_ flow: FlowID, isV4: Bool) -> HostResult
    /// Sends an echo request with this sequence number and payload.
    mutating func sendEcho(
        _ flow: FlowID, to target: IPAddress, sequence: UInt16, _ payload: RawSpan, _ options: DatagramOptions
    ) -> HostResult

    // MARK: Services of the gateway itself

    /// Hands a DNS query that the guest sent to the gateway over UDP to the resolver. The answer comes back as
    /// `Core.dnsAnswer`. (Over TCP the guest's connection is an ordinary flow whose `HostTarget` is `.dnsService`.)
    mutating func dnsQuery(_ query: RawSpan, from client: GuestPort)

    /// A datagram for a port of the gateway at which files may be served. Answers come as `Core.dnsAnswer` does. (By HTTP a machine's
    /// connection is an ordinary flow whose `HostTarget` is `.bootService`.)
    /// - Returns: false when nobody is at the port.
    mutating func bootDatagram(_ bytes: RawSpan, from client: GuestPort) -> Bool

    /// The memory of these bytes may go: nobody needs them. They may be written to again at any time.
    mutating func discard(_ bytes: inout MutableRawSpan)

    /// Something an operator should know. The shell logs it, rate limited.
    mutating func note(_ notice: Notice)

    // MARK: Leases

    /// A DHCP server has given an address, extended it, or taken it back.
    mutating func leaseChanged(_ change: LeaseChange)
    /// Whether another station than `mac` is known to use an address of the link.
    func isHeld(_ address: IPAddress, byOtherThan mac: MACAddress, at now: Instant) -> Bool
}

/// For links with one station, whose leases nobody asks for, and which boots from nowhere.
extension Outside where Self: ~Copyable {
    package mutating func bootDatagram(_ bytes: RawSpan, from client: GuestPort) -> Bool { false }
    package mutating func leaseChanged(_ change: LeaseChange) {}
    package func isHeld(_ address: IPAddress, byOtherThan mac: MACAddress, at now: Instant) -> Bool { false }
}

/// Where a host socket is to go.
package enum HostTarget: Equatable, Sendable, BitwiseCopyable {
    /// An address as the host sees it (after translation of the host's alias to loopback).
    case endpoint(Endpoint)
    /// The gateway's own DNS service over a stream.
    case dnsService
    /// The gateway's files by HTTP.
    case bootService
}

/// A guest's UDP endpoint as the core needs it to answer: addresses, ports and the MAC to send to.
package struct GuestPort: Hashable, Sendable, BitwiseCopyable {
    package var guest: Endpoint
    /// The gateway's endpoint that was asked (source of the answer).
    package var local: Endpoint
    package var mac: MACAddress
    package init(guest: Endpoint, local: Endpoint, mac: MACAddress) {
        self.guest = guest
        self.local = local
        self.mac = mac
    }
}

/// Where a socket's urgent byte is.
package enum UrgentByte: Equatable, Sendable, BitwiseCopyable {
    /// It was next, and is read.
    case here(UInt8)
    /// Ordinary bytes come before it; reading them stops at it.
    case ahead
    case none
}

/// The outcome of a call on a host socket.
package enum HostResult: Equatable, Sendable, BitwiseCopyable {
    /// Finished; the count is in bytes where the call moves bytes.
    case done(Int)
    /// EAGAIN or EINPROGRESS: readiness will tell.
    case wouldBlock
    /// A failure of this flow.
    case failed(HostError)
}

/// Why the host refused, in the terms the guest can be told (RFC 792, RFC 4443, RFC 9293).
package enum HostError: Equatable, Sendable, BitwiseCopyable {
    /// ECONNREFUSED: RST, or port unreachable for a datagram.
    case refused
    /// ECONNRESET, EPIPE, ECONNABORTED.
    case reset
    /// ENETUNREACH.
    case networkUnreachable
    /// EHOSTUNREACH, EHOSTDOWN.
    case hostUnreachable
    /// EACCES, EPERM: administratively prohibited.
    case prohibited
    /// ETIMEDOUT: nobody answered.
    case timedOut
    /// EMSGSIZE with the path's MTU in bytes (0: unknown).
    case messageTooBig(mtu: UInt32)
    /// EMFILE, ENFILE, ENOBUFS, ENOMEM: the host is out of something; the guest may try again.
    case exhausted
    /// Anything else.
    case other(Int32)
}

/// Per-datagram fields carried from the guest's IP header to the host's socket.
package struct DatagramOptions: Equatable, Sendable, BitwiseCopyable {
    /// Already decremented by our hop. 1...255.
    package var hopLimit: UInt8
    package var trafficClass: UInt8
    package var dontFragment: Bool
    package init(hopLimit: UInt8 = 64, trafficClass: UInt8 = 0, dontFragment: Bool = false) {
        self.hopLimit = hopLimit
        self.trafficClass = trafficClass
        self.dontFragment = dontFragment
    }
}

/// An ICMP error that the host's error queue reported for a datagram or echo (`IP_RECVERR`, ip(7)).
package struct DatagramError: Equatable, Sendable, BitwiseCopyable {
    /// Where the datagram had been sent.
    package var destination: Endpoint
    /// Who complained; nil when it was the host's own stack.
    package var offender: IPAddress?
    /// The ICMP or ICMPv6 type and code.
    package var type: UInt8
    package var code: UInt8
    /// The MTU for "fragmentation needed" and "packet too big".
    package var information: UInt32
    package init(destination: Endpoint, offender: IPAddress?, type: UInt8, code: UInt8, information: UInt32) {
        self.destination = destination
        self.offender = offender
        self.type = type
        self.code = code
        self.information = information
    }
}

/// What an operator is told.
package enum Notice: Equatable, Sendable, BitwiseCopyable {
    /// The guest tried the host's loopback without `--host-loopback`.
    case hostLoopbackRefused(Endpoint)
    /// Unprivileged echo sockets are closed to us (`net.ipv4.ping_group_range`).
    case echoUnavailable(isV4: Bool)
    /// A table is full; its policy was applied.
    case tableFull(Table)

    package enum Table: Equatable, Sendable, BitwiseCopyable {
        case handshakes, connections, datagramFlows, echoFlows, fragments, buffers, neighbours, openFiles
    }
}
