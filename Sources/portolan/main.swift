import ArgumentParser
import Glibc

// Exit status: 2 for a usage error, 125 when the sandbox could not be started, otherwise the command's.

do {
    var command = try Portolan.parseAsRoot()
    try command.run()
} catch let failure as StartFailure {
    writeError("portolan: error: \(failure.description)\n")
    exit(125)
} catch {
    let code = Portolan.exitCode(for: error)
    let message = Portolan.fullMessage(for: error)
    if code == .success {
        if !message.isEmpty { print(message) }
        exit(0)
    }
    if !message.isEmpty { writeError(message + "\n") }
    exit(code == .validationFailure ? 2 : code.rawValue)
}
