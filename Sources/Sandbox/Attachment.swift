internal import CHost
internal import Glibc

// Giving network to a namespace that somebody else made.
//
// A forked helper joins the target's user namespace (the one that owns the network namespace, if it is not our own), and
// there makes a *temporary* network namespace, in which it opens the tap; then it moves the interface into the target
// (IFLA_NET_NS_FD), goes there and configures it. Why the detour: the kernel ties an open tap to the network namespace in which
// /dev/net/tun was opened and keeps that one alive (drivers/net/tun.c takes a reference for the file). Opened in the
// target, our descriptor would keep the target alive for ever. This way it keeps the temporary one; when the target goes, its
// interface goes, and reading the tap fails with EBADFD: that is how we learn that our work is done.
//
// The target's /etc/resolv.conf is not ours to change.

/// A tap in a namespace that we do not own.
package struct Attachment {
    /// The tap, non-blocking, with virtio headers of 10 bytes. The caller's to close.
    package let tap: Int32
    package let features: TapFeatures
    package let warnings: [String]

    /// - Parameter target: a process id, the path of a namespace file, or the name of one under /run/netns.
    package init(to target: String, interface: InterfaceOptions) throws(SandboxError) {
        let (netns, userns) = try Self.open(target)
        defer {
            close(netns)
            if userns >= 0 { close(userns) }
        }
        var pair: (Int32, Int32) = (-1, -1)
        let code = unsafe withUnsafeMutablePointer(to: &pair) {
            unsafe $0.withMemoryRebound(to: Int32.self, capacity: 2) { unsafe host_socket_pair($0) }
        }
        guard code == 0 else { throw SandboxError("cannot make a socket pair", errno: -code) }
        let child = host_clone(0)
        if child == 0 {
            close(pair.0)
            Self.help(netns: netns, userns: userns, interface, control: pair.1)
        }
        close(pair.1)
        defer { close(pair.0) }
        guard child > 0 else { throw SandboxError("cannot fork", errno: -child) }
        defer {
            var status: Int32 = 0
            while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        }
        let answer = try HelperAnswer.listen(pair.0)
        tap = answer.tap
        features = answer.features
        warnings = answer.warnings
    }

    /// The files of the target's network namespace and of the user namespace that owns it; -1 when that is ours.
    private static func open(_ target: String) throws(SandboxError) -> (netns: Int32, userns: Int32) {
        let path: String
        if target.allSatisfy({ $0.isASCII && $0.isNumber }), !target.isEmpty {
            path = "/proc/\(target)/ns/net"
            guard File.exists("/proc/\(target)") else { throw SandboxError("there is no process \(target)") }
        } else {
            path = target.contains("/") ? target : "/run/netns/" + target
            guard File.exists(path) else { throw SandboxError("there is no namespace \(path)") }
        }
        let netns = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard netns >= 0 else {
            throw SandboxError(
                errno == EACCES || errno == EPERM
                    ? "the namespace \(path) belongs to another user; run portolan as that user, or as root"
                    : "cannot open the namespace \(path)",
                errno: errno)
        }
        let userns = host_owning_userns(netns)
        if userns == -EPERM {
            // It is owned by a namespace above ours.
            close(netns)
            throw SandboxError("the namespace \(path) belongs to another user: run portolan as that user, or as root")
        }
        guard userns >= 0 else {
            close(netns)
            throw SandboxError("\(path) is not a network namespace")
        }
        if sameFile(userns, "/proc/self/ns/user") {
            close(userns)
            return (netns, -1)
        }
        return (netns, userns)
    }

    private static func sameFile(_ fd: Int32, _ path: String) -> Bool {
        var a = stat()
        var b = stat()
        return unsafe (fstat(fd, &a) == 0 && stat(path, &b) == 0) && a.st_ino == b.st_ino && a.st_dev == b.st_dev
    }

    /// In the child.
    private static func help(netns: Int32, userns: Int32, _ interface: InterfaceOptions, control: Int32) -> Never {
        func say(_ word: Interior.Word, _ rest: [UInt8], _ fd: Int32) {
            let bytes = [word.rawValue] + rest
            _ = unsafe host_send_fd(control, fd, bytes, bytes.count)
        }
        do throws(SandboxError) {
            if userns >= 0 {
                let code = host_setns(userns, host_new_user())
                guard code == 0 else { throw SandboxError("cannot join the sandbox's user namespace", errno: -code) }
            }
            var code = host_unshare(host_new_net())
            guard code == 0 else {
                throw SandboxError(
                    code == -EPERM
                        ? "the namespace belongs to root: run portolan as root"
                        : "cannot make a temporary network namespace", errno: -code)
            }
            let tap = try Tap.open(name: interface.name, endsWithNamespace: false)
            let index = try Netlink.index(of: interface.name)
            do {
                let netlink = try Netlink()
                let code = netlink.send(.move(index, toNamespace: netns))
                guard code != -EEXIST else {
                    throw SandboxError(
                        "the namespace has an interface \(interface.name) already: choose another with --interface")
                }
                guard code == 0 else {
                    throw SandboxError("cannot move \(interface.name) into the namespace", errno: -code)
                }
            }
            code = host_setns(netns, host_new_net())
            guard code == 0 else { throw SandboxError("cannot join the network namespace", errno: -code) }
            try Tap.configure(interface)
            say(.tap, [UInt8(tap.features.rawValue & 0xff)], tap.fd)
            say(.ready, [], -1)
            _exit(0)
        } catch {
            say(.failed, Array(error.description.utf8.prefix(1000)), -1)
            _exit(125)
        }
    }
}
