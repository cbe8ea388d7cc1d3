/// Protocol numbers of IPv4's protocol field and IPv6's next header field (IANA "Assigned Internet Protocol Numbers").
package enum IPProtocol {
    /// IPv6 hop-by-hop options (RFC 8200 section 4.3).
    @inlinable package static var hopByHop: UInt8 { 0 }
    @inlinable package static var icmp: UInt8 { 1 }
    @inlinable package static var igmp: UInt8 { 2 }
    @inlinable package static var tcp: UInt8 { 6 }
    @inlinable package static var udp: UInt8 { 17 }
    /// IPv6 routing header (RFC 8200 section 4.4).
    @inlinable package static var routing: UInt8 { 43 }
    /// IPv6 fragment header (RFC 8200 section 4.5).
    @inlinable package static var fragment: UInt8 { 44 }
    @inlinable package static var icmpv6: UInt8 { 58 }
    /// IPv6 "no next header" (RFC 8200 section 4.7).
    @inlinable package static var noNextHeader: UInt8 { 59 }
    /// IPv6 destination options (RFC 8200 section 4.6).
    @inlinable package static var destinationOptions: UInt8 { 60 }
}
