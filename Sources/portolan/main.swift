import ArgumentParser
import Glibc

// Exit status: 2 for a usage error, 125 when the sandbox could not be started, otherwise the command's.

// Descriptors 0 to 2 have to be taken: libuv insists that none of its own is among them, and ours must not be mistaken for them.
// Close-on-exec, so that the command finds them closed as the caller left them.
while case let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC), null >= 0 {
    guard null <= 2 else {
        close(null)
        break
    }
}

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
