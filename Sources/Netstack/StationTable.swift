package import Wire

// Which port of a switch a station is behind (IEEE 802.1Q section 8.7, the learning process).
//
// Learnt from the source of frames. Unlike in a bridge of strangers, a station stays with its port until that goes: a machine that
// sends with another's address would else take its frames. So nothing ages either.
//
// Limits: `perPort` stations a port and `ports` ports. A port that shows more loses the one it showed first: a guest that invents
// addresses hurts itself alone.

/// Stations by MAC address.
package struct StationTable: ~Copyable {
    package static let perPort = 32

    /// Not private: the compiler (6.3.1) then fails on a class of another module that holds a table.
    package struct Station: BitwiseCopyable {
        var mac: MACAddress
        var port: UInt32
        /// Counts up: the order of arrival.
        var order: UInt64
    }

    private var stations: Slab<Station>
    private var table = FlowTable()
    private var counts: [Int]
    private var arrivals: UInt64 = 0
    private let secret: UInt64

    package init(ports: Int, seed: UInt64) {
        stations = Slab(capacity: ports * Self.perPort)
        counts = Array(repeating: 0, count: ports)
        secret = seed | 1
    }

    package var count: Int { stations.count }

    private func hash(_ mac: MACAddress) -> UInt64 {
        let product = (mac.rawValue ^ secret).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15 ^ secret << 1)
        return product.high ^ product.low
    }

    private func index(_ mac: MACAddress) -> UInt32? {
        table.find(hash(mac)) { stations[$0].mac == mac }
    }

    package func port(of mac: MACAddress) -> Int? {
        index(mac).map { Int(stations[$0].port) }
    }

    /// A frame of this station came by this port. False when the station is another port's.
    package mutating func learn(_ mac: MACAddress, port: Int) -> Bool {
        if let index = index(mac) { return stations[index].port == UInt32(port) }
        if counts[port] >= Self.perPort { forgetOldest(of: port) }
        arrivals += 1
        guard let index = stations.insert(Station(mac: mac, port: UInt32(port), order: arrivals)) else { return false }
        table.insert(hash(mac), index)
        counts[port] += 1
        return true
    }

    /// The port is no more.
    package mutating func forget(port: Int) {
        for index in 0..<stations.highWater where isOf(port, index) { remove(index) }
    }

    private func isOf(_ port: Int, _ index: UInt32) -> Bool {
        stations.isLive(index) && stations[index].port == UInt32(port)
    }

    private mutating func forgetOldest(of port: Int) {
        var oldest: UInt32?
        for index in 0..<stations.highWater where isOf(port, index) {
            if let known = oldest, stations[known].order <= stations[index].order { continue }
            oldest = index
        }
        if let oldest { remove(oldest) }
    }

    private mutating func remove(_ index: UInt32) {
        table.remove(hash(stations[index].mac), index)
        counts[Int(stations[index].port)] -= 1
        stations.remove(index)
    }
}
