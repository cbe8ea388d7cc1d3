internal import Glibc
internal import Netstack

extension HostError {
    /// What an errno of a socket call means to the guest.
    init(errno code: Int32) {
        switch code {
        case ECONNREFUSED: self = .refused
        case ECONNRESET, EPIPE, ECONNABORTED, ENOTCONN: self = .reset
        case ENETUNREACH, ENETDOWN, EAFNOSUPPORT, EADDRNOTAVAIL: self = .networkUnreachable
        case EHOSTUNREACH, EHOSTDOWN, ENODEV, ENXIO: self = .hostUnreachable
        case EACCES, EPERM: self = .prohibited
        case ETIMEDOUT: self = .timedOut
        case EMSGSIZE: self = .messageTooBig(mtu: 0)
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: self = .exhausted
        default: self = .other(code)
        }
    }
}

extension HostResult {
    /// The result of a call that returned a count or -errno.
    init(_ count: Int) {
        if count >= 0 {
            self = .done(count)
        } else if count == -Int(EAGAIN) || count == -Int(EINTR) {
            self = .wouldBlock
        } else {
            self = .failed(HostError(errno: Int32(truncatingIfNeeded: -count)))
        }
    }
}

/// What the C library says of an errno, for messages.
func errorText(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
