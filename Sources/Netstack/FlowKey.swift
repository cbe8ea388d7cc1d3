package import Wire

/// The guest's and the remote's endpoint as the guest sees them. Identifies a TCP connection.
package struct FlowKey: Hashable, Sendable, BitwiseCopyable {
    package var guest: Endpoint
    package var remote: Endpoint

    package init(guest: Endpoint, remote: Endpoint) {
        self.guest = guest
        self.remote = remote
    }

    package var isV4: Bool { remote.address.isV4 }

    /// A hash under a secret, so that a guest cannot choose colliding flows: three multiply-fold rounds (the mixing
    /// step of wyhash) over 36 bytes.
    package func hash(secret: UInt64) -> UInt64 {
        let ports = UInt64(guest.port) << 16 | UInt64(remote.port)
        var h = fold(guest.address.hi ^ secret, guest.address.lo ^ 0xa076_1d64_78bd_642f)
        h = fold(h ^ remote.address.hi, remote.address.lo ^ secret)
        return fold(h ^ ports, secret ^ 0xe703_7ed1_a0b4_28db)
    }

    /// Bytes of the IP and TCP headers of a segment without options.
    @inline(__always)
    var headersLength: Int { isV4 ? 40 : 60 }

    /// SipHash-2-4 of the endpoints: for what the guest gets to see (RFC 6528), from which the key cannot be learnt.
    package func pseudorandom(key: (UInt64, UInt64)) -> UInt64 {
        var sip = SipHash(key: key)
        sip.add(guest.address.hi)
        sip.add(guest.address.lo)
        sip.add(remote.address.hi)
        sip.add(remote.address.lo)
        return sip.finish(UInt64(guest.port) << 16 | UInt64(remote.port), length: 36)
    }

    @inline(__always)
    private func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = (a | 1).multipliedFullWidth(by: b | 1)
        return product.high ^ product.low
    }
}
