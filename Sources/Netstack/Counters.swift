/// Why a frame from the guest was dropped. Each reason has a counter; a drop is never an error and never a trap.
package enum DropReason: Int, CaseIterable, Sendable {
    case truncatedEthernet, unknownEtherType, notForUs
    case malformedARP
    case malformedIPv4, badIPv4Checksum, malformedIPv6, extensionHeaders
    case martianSource, martianDestination, multicastDestination
    case unknownProtocol
    case malformedTCP, badTCPChecksum, landTCP, handshakesFull, connectionsFull
    case malformedUDP, badUDPChecksum, datagramFlowsFull, hostRefusedDatagram
    case malformedICMP, badICMPChecksum, unexpectedICMP, echoFlowsFull
    case malformedNDP, malformedDHCP
    case malformedFragment, overlappingFragment, fragmentsFull, fragmentTimeout
    case errorRateLimited
    case badOffload
    case unresolved
}

/// Event counts of one core. Plain words, no atomics: one thread owns them.
package struct Counters: Sendable {
    package private(set) var drops = InlineArray<64, UInt64>(repeating: 0)
    package var framesReceived: UInt64 = 0
    package var framesSent: UInt64 = 0
    package var bytesReceived: UInt64 = 0
    package var bytesSent: UInt64 = 0
    /// The link could not take a frame.
    package var linkBusy: UInt64 = 0

    package init() {}

    package mutating func drop(_ reason: DropReason) { drops[reason.rawValue] &+= 1 }
    package func count(_ reason: DropReason) -> UInt64 { drops[reason.rawValue] }
    /// The sum over all reasons.
    package var dropped: UInt64 { DropReason.allCases.reduce(0) { $0 &+ drops[$1.rawValue] } }
}
