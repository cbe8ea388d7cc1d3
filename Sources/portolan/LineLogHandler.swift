import Glibc
import Logging

/// Log lines as a terminal's user wants them: `portolan: warning: text` on stderr, nothing else.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(level: Logger.Level) { logLevel = level }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        writeError("portolan: \(event.level): \(event.message)\n")
    }
}
