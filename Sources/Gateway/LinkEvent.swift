/// What happens on a socket of the switch, told by the token of its poll handle.
enum LinkEvent {
    case listener(Int)
    case link(Int)

    init(token: UInt64) {
        let index = Int(token >> 1)
        self = token & 1 == 0 ? .listener(index) : .link(index)
    }
    var token: UInt64 {
        switch self {
        case .listener(let index): UInt64(index) << 1
        case .link(let index): UInt64(index) << 1 | 1
        }
    }
}
