/// What `run` starts.
package struct RunOptions: Sendable {
    package var command: [String]
    package var interface: InterfaceOptions
    /// uid and gid 0 inside instead of the caller's.
    package var mapRoot: Bool
    /// The sandbox's /etc/resolv.conf.
    package var resolvConf: String
    /// PR_SET_NO_NEW_PRIVS for the command: set for callers without privilege, whose set-uid programs could gain nothing anyway.
    package var dropsPrivileges = false

    package init(command: [String], interface: InterfaceOptions, mapRoot: Bool, resolvConf: String) {
        self.command = command
        self.interface = interface
        self.mapRoot = mapRoot
        self.resolvConf = resolvConf
    }
}
