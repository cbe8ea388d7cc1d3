// Numbers of the Internet Control Message Protocol for IPv6 (RFC 4443). Types below 128 are errors.

/// Message types (RFC 4443, RFC 4861, RFC 2710, RFC 3810).
package enum ICMPv6Type {
    @inlinable package static var destinationUnreachable: UInt8 { 1 }
    @inlinable package static var packetTooBig: UInt8 { 2 }
    @inlinable package static var timeExceeded: UInt8 { 3 }
    @inlinable package static var parameterProblem: UInt8 { 4 }
    @inlinable package static var echoRequest: UInt8 { 128 }
    @inlinable package static var echoReply: UInt8 { 129 }
    @inlinable package static var multicastListenerQuery: UInt8 { 130 }
    @inlinable package static var multicastListenerReport: UInt8 { 131 }
    @inlinable package static var multicastListenerDone: UInt8 { 132 }
    @inlinable package static var routerSolicitation: UInt8 { 133 }
    @inlinable package static var routerAdvertisement: UInt8 { 134 }
    @inlinable package static var neighborSolicitation: UInt8 { 135 }
    @inlinable package static var neighborAdvertisement: UInt8 { 136 }
    @inlinable package static var redirect: UInt8 { 137 }
    @inlinable package static var multicastListenerReportV2: UInt8 { 143 }
}

/// Codes of "destination unreachable", "time exceeded" and "parameter problem".
package enum ICMPv6Code {
    @inlinable package static var noRoute: UInt8 { 0 }
    @inlinable package static var communicationProhibited: UInt8 { 1 }
    @inlinable package static var beyondScope: UInt8 { 2 }
    @inlinable package static var addressUnreachable: UInt8 { 3 }
    @inlinable package static var portUnreachable: UInt8 { 4 }
    @inlinable package static var sourcePolicyFailed: UInt8 { 5 }
    @inlinable package static var rejectRoute: UInt8 { 6 }
    /// Of "time exceeded": the hop limit reached zero in transit.
    @inlinable package static var hopLimitExceeded: UInt8 { 0 }
    /// Of "time exceeded": fragments were missing.
    @inlinable package static var reassemblyTimeExceeded: UInt8 { 1 }
    /// Of "parameter problem".
    @inlinable package static var unrecognizedNextHeader: UInt8 { 1 }
}
