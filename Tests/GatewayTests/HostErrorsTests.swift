import Glibc
import Netstack
import Testing

@testable import Gateway

/// What the guest is told of an errno.
@Suite struct HostErrorsTests {
    @Test(arguments: [
        (ECONNREFUSED, HostError.refused), (ECONNRESET, .reset), (EPIPE, .reset), (ENETUNREACH, .networkUnreachable),
        (EAFNOSUPPORT, .networkUnreachable), (EHOSTUNREACH, .hostUnreachable), (EACCES, .prohibited),
        (EPERM, .prohibited),
        (ETIMEDOUT, .timedOut), (EMFILE, .exhausted), (ENOBUFS, .exhausted), (EMSGSIZE, .messageTooBig(mtu: 0)),
        (EINVAL, .other(EINVAL)),
    ])
    func errnos(code: Int32, error: HostError) {
        #expect(HostError(errno: code) == error)
        #expect(HostResult(-Int(code)) == .failed(error))
    }

    @Test func counts() {
        #expect(HostResult(0) == .done(0))
        #expect(HostResult(65_536) == .done(65_536))
        #expect(HostResult(-Int(EAGAIN)) == .wouldBlock)
        #expect(HostResult(-Int(EINTR)) == .wouldBlock)
    }
}
