internal import CHost
internal import Netstack
internal import Wire

extension host_address {
    init(_ endpoint: Endpoint) {
        self.init()
        unsafe withUnsafeMutableBytes(of: &bytes) { raw in
            unsafe raw.storeBytes(of: endpoint.address.hi.bigEndian, as: UInt64.self)
            unsafe raw.storeBytes(of: endpoint.address.lo.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        port = endpoint.port
        is_v4 = endpoint.address.isV4 ? 1 : 0
    }

    var endpoint: Endpoint {
        let copy = bytes
        return unsafe withUnsafeBytes(of: copy) { raw in
            let hi = unsafe UInt64(bigEndian: raw.loadUnaligned(as: UInt64.self))
            let lo = unsafe UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            return Endpoint(address: IPAddress(hi: hi, lo: lo), port: port)
        }
    }

    /// host_icmp_error's "nobody".
    var isAbsent: Bool { is_v4 == 2 }
}
