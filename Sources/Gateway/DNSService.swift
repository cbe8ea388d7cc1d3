internal import Logging
internal import Glibc
internal import Netstack
internal import Uv
internal import Wire

/// The gateway's name service. Answers are not given from within `query`: they wait in `takeAnswers`, which the network
/// asks once a turn (no call of `Outside` may call back into the core).
final class NameService {
    init(loop: EventLoop, configuration: NetworkConfiguration, logger: Logger) {}

    /// A query that the guest sent over UDP. The bytes are only valid during the call.
    func query(_ bytes: RawSpan, from client: GuestPort) {}

    /// A guest's connection to port 53: our end of a socket pair. The descriptor is ours now.
    func serve(stream fd: Int32) { Glibc.close(fd) }

    /// The answers that are ready, each once.
    func takeAnswers() -> [(client: GuestPort, bytes: [UInt8])] { [] }

    func close() {}
}
