internal import CHost
internal import Glibc
internal import Wire

// What the forked child does inside its new namespaces, before the command starts:
//
//   wait until the parent has written the id maps
//   mounts     all private; a fresh /proc for the PID namespace; /etc/resolv.conf pointing at the gateway; the sockets of nscd
//              and systemd-resolved hidden, since names asked there would pass the gateway by
//   network    the tap, whose descriptor goes to the parent; lo, addresses, routes; sysctls that let an ordinary uid ping
//              and listen on low ports (they belong to this network namespace alone)
//   report     "ready", or the sentence that says what went wrong
//   wait       for "go", then become init (host_init)
//
// /etc/resolv.conf is bound over where its links lead, or over the link itself when that is nowhere. Where the kernel refuses a
// fresh /proc (some container masks parts of it) the sandbox goes on with the host's, and says so.
//
// All files that are made live on a tmpfs of the private mount namespace, so nothing is left on the host, even after
// SIGKILL. The process is single-threaded and was forked from one: Swift's runtime has nothing that a fork breaks.

struct Interior {
    let options: RunOptions
    /// Our end of the socket to the parent.
    let control: Int32

    /// One byte in front of what the child says.
    enum Word: UInt8 { case tap = 1, ready = 2, failed = 3, warning = 4 }

    /// Never returns.
    func live() -> Never {
        _ = host_die_with_parent()
        // The parent may have died before that call: then its end is closed, and this wait ends.
        guard waitForWord() else { _exit(137) }
        do throws(SandboxError) {
            try mounts()
            let tap = try Tap.open(name: options.interface.name, endsWithNamespace: true)
            say(.tap, features: tap.features.rawValue, fd: tap.fd)
            close(tap.fd)
            try Tap.configure(options.interface)
        } catch {
            say(.failed, error.description)
            _exit(125)
        }
        say(.ready, "")
        guard waitForWord() else { _exit(137) }
        if options.dropsPrivileges { _ = host_no_new_privileges() }
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe options.command.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        _exit(unsafe host_init(control, arguments))
    }

    private func waitForWord() -> Bool {
        var byte: UInt8 = 0
        var fd: Int32 = -1
        return unsafe host_receive_fd(control, &fd, &byte, 1) == 1
    }

    private func say(_ word: Word, _ text: String) {
        let bytes = [word.rawValue] + Array(text.utf8.prefix(1000))
        _ = unsafe host_send_fd(control, -1, bytes, bytes.count)
    }

    private func say(_ word: Word, features: UInt32, fd: Int32) {
        let bytes = [word.rawValue, UInt8(features & 0xff)]
        _ = unsafe host_send_fd(control, fd, bytes, bytes.count)
    }

    // MARK: Mounts

    private func mounts() throws(SandboxError) {
        var code = unsafe host_mount(nil, "/", nil, host_mount_private(), nil)
        guard code == 0 else { throw SandboxError("cannot make the sandbox's mounts private", errno: -code) }
        // Before /proc is replaced the kernel wants to see the old one whole.
        code = unsafe host_mount("proc", "/proc", "proc", host_mount_hardened(), nil)
        if code != 0 {
            say(
                .warning,
                "the kernel refuses a fresh /proc here (a container that masks it?), so the sandbox sees the host's")
        }
        openPing()
        let staging = ["/tmp", "/run", "/mnt", "/var/tmp"].first { File.exists($0) } ?? "/"
        code = unsafe host_mount("tmpfs", staging, "tmpfs", host_mount_hardened(), "mode=0755,size=64k")
        guard code == 0 else { throw SandboxError("cannot mount a tmpfs in the sandbox", errno: -code) }
        let file = staging + "/resolv.conf"
        create(file, options.resolvConf)
        pointResolver(at: file)
        create(staging + "/none", "")
        for path in ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"] where File.exists(path) {
            _ = unsafe host_mount(staging + "/none", path, nil, host_mount_bind(), nil)
        }
        _ = unsafe host_detach(staging)
    }

    /// Lets the caller's group ping, and any uid listen on low ports, in this network namespace.
    private func openPing() {
        // All groups, where all are mapped; the kernel takes no range with unmapped ends.
        if File.write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647") != 0 {
            let group = getegid()
            _ = File.write("/proc/sys/net/ipv4/ping_group_range", "\(group) \(group)")
        }
        _ = File.write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    }

    private func create(_ path: String, _ text: String) {
        let fd = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard fd >= 0 else { return }
        let bytes = Array(text.utf8)
        _ = unsafe write(fd, bytes, bytes.count)
        // The umask must not hide it from the command.
        fchmod(fd, 0o644)
        close(fd)
    }

    /// Binds `file` over what /etc/resolv.conf leads to.
    private func pointResolver(at file: String) {
        if let target = File.resolve("/etc/resolv.conf") {
            let code = unsafe host_mount(file, target, nil, host_mount_bind(), nil)
            if code != 0 {
                say(.warning, "cannot put the gateway into the sandbox's /etc/resolv.conf (error \(-code))")
            }
            return
        }
        // A link whose end does not exist (no systemd-resolved running): covered itself.
        if unsafe host_mount_over_link(file, "/etc/resolv.conf") == 0 { return }
        say(
            .warning,
            "the host has no /etc/resolv.conf to replace, so names in the sandbox need another way to the gateway")
    }
}
