internal import CUv

/// A failure that libuv reported: a negated errno, or one of libuv's own codes below -3000.
package struct UvError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Negative, as libuv returns it.
    package let code: Int32

    package init(code: Int32) { self.code = code }

    /// Such as `EBADF`.
    package var name: String { unsafe String(cString: uv_err_name(code)) }
    package var description: String { unsafe "\(name): \(String(cString: uv_strerror(code)))" }

    /// What a poll callback is told when its descriptor is in error (`PollCallback`).
    package static let badDescriptor = UvError(code: UV_EBADF.rawValue)
    /// Another handle already watches the descriptor.
    package static let exists = UvError(code: UV_EEXIST.rawValue)

    /// Throws unless libuv's return code says success.
    static func check(_ code: Int32) throws(UvError) {
        if code < 0 { throw UvError(code: code) }
    }
}
