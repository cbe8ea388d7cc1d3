// Numbers of the Internet Control Message Protocol (RFC 792; RFC 1122 section 3.2.2 and RFC 1812 section 5.2.7.1 for the codes).

/// Message types.
package enum ICMPv4Type {
    @inlinable package static var echoReply: UInt8 { 0 }
    @inlinable package static var destinationUnreachable: UInt8 { 3 }
    @inlinable package static var redirect: UInt8 { 5 }
    @inlinable package static var echoRequest: UInt8 { 8 }
    @inlinable package static var timeExceeded: UInt8 { 11 }
    @inlinable package static var parameterProblem: UInt8 { 12 }
}

/// Codes of "destination unreachable" and "time exceeded".
package enum ICMPv4Code {
    @inlinable package static var networkUnreachable: UInt8 { 0 }
    @inlinable package static var hostUnreachable: UInt8 { 1 }
    @inlinable package static var protocolUnreachable: UInt8 { 2 }
    @inlinable package static var portUnreachable: UInt8 { 3 }
    @inlinable package static var fragmentationNeeded: UInt8 { 4 }
    @inlinable package static var sourceRouteFailed: UInt8 { 5 }
    @inlinable package static var networkProhibited: UInt8 { 9 }
    @inlinable package static var hostProhibited: UInt8 { 10 }
    @inlinable package static var communicationProhibited: UInt8 { 13 }
    /// Of "time exceeded": the TTL reached zero in transit.
    @inlinable package static var timeToLiveExceeded: UInt8 { 0 }
    /// Of "time exceeded": fragments were missing.
    @inlinable package static var reassemblyTimeExceeded: UInt8 { 1 }
}
