internal import CHost
internal import Glibc

// Starting a command in fresh user, mount, network and PID namespaces, seen from outside.
//
//   parent                                    child (PID 1 of its namespace)
//   clone ───────────────────────────────────▶ waits
//   writes uid_map, gid_map ── "mapped" ──────▶ mounts, tap, addresses
//   ◀── tap's descriptor ── warnings ── "ready" or what failed
//   builds the network
//   release() ── "go" ────────────────────────▶ forks the command, is its init
//   exit of the child on a pidfd ◀───────────── the command's status
//
// Life and death. The child gets SIGKILL when the parent dies (PR_SET_PDEATHSIG) and sees its socket close; when the child,
// which is init, ends, the kernel kills all that is left in the PID namespace. So neither outlives the other.
//
// Signals. Command, init and portolan are one process group, so what a terminal generates reaches the command by itself; of what
// arrives here only signals that somebody sent are passed on (SignalForwarder). Ctrl-Z is the exception: it is blocked here, and
// portolan stops when init reports that the command did, so that the caller's shell takes the terminal from a command that
// has let go of it, and a command that handles Ctrl-Z keeps its network. What it does not do: tell a signal sent to the whole
// group (`kill -TERM -PGID`) from one sent to portolan; the command gets that twice.
//
// Ids. A caller without privilege may map one uid and one gid: its own, to itself or to 0. Root maps every id
// of its user namespace to itself, so that programs inside can change users (apt does).

/// A sandbox with its command about to run or running.
package struct RunningSandbox {
    /// The tap, non-blocking, with virtio headers of 10 bytes. The caller's to close.
    package let tap: Int32
    package let features: TapFeatures
    /// Readable when the command has ended.
    package let exitFD: Int32
    /// Readable when a signal for the command has come.
    package let signalFD: Int32
    /// Readable when init has something to say: the command was stopped (`stopped()`), or init has ended.
    package var stopFD: Int32 { control }
    /// What the user should know, a sentence each.
    package let warnings: [String]
    private let pid: Int32
    private let control: Int32
    /// Our process group had the terminal when the sandbox started.
    private let hadTerminal: Bool

    /// Makes the namespaces and the interface. The calling process must be single-threaded.
    package init(starting options: RunOptions) throws(SandboxError) {
        var pair: (Int32, Int32) = (-1, -1)
        let code = unsafe withUnsafeMutablePointer(to: &pair) {
            unsafe $0.withMemoryRebound(to: Int32.self, capacity: 2) { unsafe host_socket_pair($0) }
        }
        guard code == 0 else { throw SandboxError("cannot make a socket pair", errno: -code) }
        var options = options
        options.dropsPrivileges = geteuid() != 0

        hadTerminal = host_terminal_group() == getpgrp()
        let flags = host_new_user() | host_new_net() | host_new_mount() | host_new_pid()
        let child = host_clone(flags)
        if child == 0 {
            close(pair.0)
            Interior(options: options, control: pair.1).live()
        }
        close(pair.1)
        guard child > 0 else {
            close(pair.0)
            throw Self.diagnose(-child)
        }
        do {
            try Self.map(child, options.mapRoot)
            Self.say(pair.0)
            let answer = try HelperAnswer.listen(pair.0)
            tap = answer.tap
            features = answer.features
            warnings = answer.warnings
        } catch {
            _ = Glibc.kill(child, SIGKILL)
            var status: Int32 = 0
            unsafe waitpid(child, &status, 0)
            close(pair.0)
            throw Self.explained(error)
        }
        pid = child
        control = pair.0
        exitFD = host_pidfd_open(child)
        signalFD = host_forwardable_signals()
        guard exitFD >= 0 else { throw SandboxError("the kernel has no pidfd_open (Linux 5.3)", errno: -exitFD) }
        guard signalFD >= 0 else { throw SandboxError("cannot receive signals", errno: -signalFD) }
    }

    /// Lets the command start.
    package func release() { Self.say(control) }

    /// Passes signals on to the command.
    package var signals: SignalForwarder { SignalForwarder(signalFD: signalFD, control: control) }

    /// Stops this process as the terminal stopped the command. Call when `stopFD` is readable.
    package func stopped() { _ = host_stop_with_command(control) }

    /// Waits for the end, still passing signals on, and gives the command's exit status, 128+N for a signal. The terminal,
    /// if it was ours when we started and a shell inside died with it, is ours again.
    package func reap() -> Int32 {
        let signals = self.signals
        var fds = [
            pollfd(fd: exitFD, events: Int16(POLLIN), revents: 0),
            pollfd(fd: signalFD, events: Int16(POLLIN), revents: 0),
            pollfd(fd: control, events: Int16(POLLIN), revents: 0),
        ]
        while fds[0].revents == 0 {
            guard unsafe poll(&fds, 3, -1) >= 0 || errno == EINTR else { break }
            if fds[1].revents != 0 { signals.forward() }
            if fds[2].revents != 0, host_stop_with_command(control) < 0 { fds[2].fd = -1 }
        }
        defer { if hadTerminal { host_terminal_take_back() } }
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        return signal == 0 ? status >> 8 & 0xff : 128 + signal
    }

    /// Ends the sandbox at once.
    package func kill() { _ = Glibc.kill(pid, SIGKILL) }

    // MARK: Pieces

    private static func say(_ control: Int32) {
        var byte: UInt8 = 1
        _ = unsafe host_send_fd(control, -1, &byte, 1)
    }

    private static func map(_ pid: Int32, _ mapRoot: Bool) throws(SandboxError) {
        let uid = geteuid()
        let gid = getegid()
        if uid == 0, !mapRoot || gid == 0, let users = identity("uid_map"), let groups = identity("gid_map"),
            File.write("/proc/\(pid)/uid_map", users) == 0
        {
            let code = File.write("/proc/\(pid)/gid_map", groups)
            guard code == 0 else { throw SandboxError("cannot map the sandbox's groups", errno: code) }
            return
        }
        var code = File.write("/proc/\(pid)/uid_map", "\(mapRoot ? 0 : uid) \(uid) 1")
        guard code == 0 else { throw SandboxError("cannot map the sandbox's user", errno: code) }
        // Without privilege a gid map needs setgroups switched off first (user_namespaces(7)).
        _ = File.write("/proc/\(pid)/setgroups", "deny")
        code = File.write("/proc/\(pid)/gid_map", "\(mapRoot ? 0 : gid) \(gid) 1")
        guard code == 0 else { throw SandboxError("cannot map the sandbox's group", errno: code) }
    }

    /// A map of every id that our own user namespace has to itself: all of them on a host, a range in a container.
    private static func identity(_ file: String) -> String? {
        guard let own = File.read("/proc/self/\(file)") else { return nil }
        let lines = own.split(separator: "\n").compactMap { line -> String? in
            let numbers = line.split(separator: " ")
            return numbers.count == 3 ? "\(numbers[0]) \(numbers[0]) \(numbers[2])\n" : nil
        }
        return lines.isEmpty ? nil : lines.joined()
    }

    /// AppArmor (Ubuntu since 23.10) lets an ordinary user's namespaces be made, and then refuses whatever is done in them.
    private static func explained(_ error: SandboxError) -> SandboxError {
        guard geteuid() != 0, File.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")?.first == "1" else {
            return error
        }
        return SandboxError(
            "AppArmor restricts user namespaces of ordinary users (\(error.description)): allow them with 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'"
        )
    }

    /// Why clone refused.
    private static func diagnose(_ code: Int32) -> SandboxError {
        func number(_ path: String) -> Int? {
            File.read(path).flatMap { Int($0.filter { $0.isNumber }) }
        }
        for (file, kind) in [("user", "user"), ("net", "network"), ("mnt", "mount"), ("pid", "PID")]
        where number("/proc/sys/user/max_\(file)_namespaces") == 0 {
            return SandboxError(
                "\(kind) namespaces are switched off: allow them with 'sysctl -w user.max_\(file)_namespaces=15000'")
        }
        if geteuid() != 0, number("/proc/sys/kernel/unprivileged_userns_clone") == 0 {
            return SandboxError(
                "user namespaces are closed to ordinary users: open them with 'sysctl -w kernel.unprivileged_userns_clone=1'"
            )
        }
        if geteuid() != 0, number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 {
            return SandboxError(
                "AppArmor keeps user namespaces from ordinary users: allow them with 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'"
            )
        }
        if code == EPERM {
            return SandboxError(
                "the kernel does not let this process make user namespaces (a container's seccomp filter, or a chroot?)"
            )
        }
        return SandboxError("cannot make the sandbox's namespaces", errno: code)
    }
}

/// What a forked helper reports over its socket, until "ready".
enum HelperAnswer {
    static func listen(_ control: Int32) throws(SandboxError) -> (
        tap: Int32, features: TapFeatures, warnings: [String]
    ) {
        var tap: Int32 = -1
        var features: TapFeatures = []
        var warnings: [String] = []
        while true {
            var bytes = [UInt8](repeating: 0, count: 1024)
            var fd: Int32 = -1
            let count = unsafe host_receive_fd(control, &fd, &bytes, bytes.count)
            guard count > 0 else {
                if tap >= 0 { close(tap) }
                throw SandboxError("the sandbox's set-up ended without a word")
            }
            let text = String(decoding: bytes[1..<count], as: UTF8.self)
            switch Interior.Word(rawValue: bytes[0]) {
            case .tap:
                tap = fd
                features = TapFeatures(rawValue: UInt32(bytes[1]))
            case .warning: warnings.append(text)
            case .ready: return (tap, features, warnings)
            case .failed:
                if tap >= 0 { close(tap) }
                throw SandboxError(text)
            case nil: break
            }
        }
    }
}
