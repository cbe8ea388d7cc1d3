/// What happens on a socket of the switch, told by the token of its poll handle.
enum LinkEvent {
    case listener(Int)
    case link(Int)
    /// A ring of a link in shared memory: 0 to the guest, 1 from it.
    case ring(Int, Int)

    init(token: UInt64) {
        let index = Int(token >> 2)
        switch token & 3 {
        case 0: self = .listener(index)
        case 1: self = .link(index)
        case 2: self = .ring(index, 0)
        default: self = .ring(index, 1)
        }
    }
    var token: UInt64 {
        switch self {
        case .listener(let index): UInt64(index) << 2
        case .link(let index): UInt64(index) << 2 | 1
        case .ring(let index, let ring): UInt64(index) << 2 | (ring == 0 ? 2 : 3)
        }
    }
}
