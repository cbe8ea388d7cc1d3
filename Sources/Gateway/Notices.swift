internal import Logging
internal import Netstack
internal import Wire

/// Passes what the core wants an operator to know to the log: each kind once, so that a guest cannot flood it.
struct Notices {
    private let logger: Logger
    private var saidLoopback = false
    private var saidEcho: [Bool] = [false, false]
    private var saidFull: [Bool] = Array(repeating: false, count: 8)

    init(logger: Logger) { self.logger = logger }

    mutating func post(_ notice: Notice) {
        switch notice {
        case .hostLoopbackRefused(let endpoint):
            guard !saidLoopback else { return }
            saidLoopback = true
            logger.notice(
                "the sandbox tried the host's loopback (\(endpoint.address) port \(endpoint.port)) and was refused; --host-loopback allows it"
            )
        case .echoUnavailable(let isV4):
            guard !saidEcho[isV4 ? 0 : 1] else { return }
            saidEcho[isV4 ? 0 : 1] = true
            logger.warning(
                "\(isV4 ? "ping" : "ping6") to the outside is not possible: the host allows no unprivileged echo sockets; let your group into them with: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
            )
        case .tableFull(let table):
            let index = table.index
            guard !saidFull[index] else { return }
            saidFull[index] = true
            logger.warning("the table of \(table.name) is full; further ones are refused or replace the oldest")
        }
    }
}

extension Notice.Table {
    fileprivate var index: Int {
        switch self {
        case .handshakes: return 0
        case .connections: return 1
        case .datagramFlows: return 2
        case .echoFlows: return 3
        case .fragments: return 4
        case .buffers: return 5
        case .neighbours: return 6
        case .openFiles: return 7
        }
    }

    fileprivate var name: String {
        switch self {
        case .handshakes: return "TCP connections being opened"
        case .connections: return "TCP connections"
        case .datagramFlows: return "UDP flows"
        case .echoFlows: return "ping flows"
        case .fragments: return "IP fragments"
        case .buffers: return "buffers"
        case .neighbours: return "neighbours"
        case .openFiles: return "open files (ulimit -n)"
        }
    }
}
