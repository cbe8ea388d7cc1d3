import Glibc

/// Lets this process open as many files as the hard limit allows: each connection and UDP flow of the sandbox is one. Call after the
/// command has been started, which keeps the soft limit it was given (select(2) knows 1024).
func raiseOpenFiles() {
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard unsafe getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    _ = unsafe setrlimit(resource, &limit)
}
