"""The lab: three hosts on one machine, made of network namespaces that vanish with the program that made them.

                198.51.100.0/24  2001:db8:1::/64
        host .1 ------------------------------- .2, .3 server
          |                                            |
          | 203.0.113.0/24                             | 198.18.0.0/24    MTU 1280
          | 2001:db8:2::/64                            | 2001:db8:3::/64
          +-- .1 --------- .2 router .1 ---------- .2 -+

`host` is where Portolan runs, `server` is the outside. What the server offers on 198.51.100.2 is one hop away; on
198.18.0.2 it is two hops away behind a link of MTU 1280. The router answers for 198.18.1.0/24 and 2001:db8:4::/64 with
ICMP unreachable and swallows 198.18.2.0/24 and 2001:db8:5::/64.

A namespace is held by a process that reads from a pipe of ours: however we end, it ends too, and the namespace with it.
Nothing is written to the machine: each host has its own copy of /etc, /dev/net and /run/netns in a mount namespace.

What it does not do: emulate loss or delay (the simulator does that), or reach anything outside this machine.
"""

import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HOST4, HOST6 = "198.51.100.1", "2001:db8:1::1"
SERVER4, SERVER6 = "198.51.100.2", "2001:db8:1::2"
SECOND4, SECOND6 = "198.51.100.3", "2001:db8:1::3"
ROUTER4, ROUTER6 = "203.0.113.2", "2001:db8:2::2"
FAR4, FAR6 = "198.18.0.2", "2001:db8:3::2"
UNREACHABLE4, UNREACHABLE6 = "198.18.1.1", "2001:db8:4::1"
BLACKHOLE4, BLACKHOLE6 = "198.18.2.1", "2001:db8:5::1"
ABSENT4 = "198.51.100.99"  # on the link, and nobody is there

PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
USER, UID = "sailor", 4242  # an ordinary user that exists in the lab's own /etc only

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """For preexec_fn: the process gets SIGKILL when the thread that started it ends (PR_SET_PDEATHSIG)."""
    _libc.prctl(1, signal.SIGKILL)


def raise_open_files(limit=1 << 20):
    """Lets this process and its children hold many sockets, as far as the hard limit (or root) allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (limit, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return
        except (ValueError, OSError):
            continue


def until(predicate, timeout=10.0, step=0.02):
    """Waits for `predicate()` to be true and returns its value; the last (false) value when time is up."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def rests(pid, share):
    """Waits up to 5 s for a process that uses less than this share of a core."""
    def nanoseconds():
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0])

    def is_flat():
        before = nanoseconds()
        time.sleep(0.3)
        return nanoseconds() - before < share * 0.3e9

    return until(is_flat, 5)


class Result:
    """What a finished command left: exit status (negative: killed by that signal), stdout, stderr, seconds."""

    def __init__(self, argv, code, out, err, seconds, timed_out=False):
        self.argv, self.code, self.out, self.err = argv, code, out, err
        self.seconds, self.timed_out = seconds, timed_out

    def __str__(self):
        how = "timed out" if self.timed_out else f"exit {self.code}"
        words = " ".join("(program)" if "\n" in word else word for word in self.argv)
        return f"{how} after {self.seconds:.1f} s: {words[-600:]}\n--- out\n{self.out[-3000:]}\n--- err\n{self.err[-3000:]}"


class Namespace:
    """One host of the lab: a network and a mount namespace, held by a process."""

    def __init__(self, lab, name, etc=False, devices=False):
        self.lab, self.name = lab, name
        setup = ["set -e", "mount -t tmpfs -o mode=755 none /run/netns 2>/dev/null || "
                 "{ mkdir -p /run/netns 2>/dev/null && mount -t tmpfs -o mode=755 none /run/netns || true; }"]
        if etc:
            self.etc = os.path.join(lab.directory, f"etc-{name}")
            _copy_etc(self.etc)
            setup.append(f"mount --bind {self.etc} /etc")
        if devices and lab.is_real_root:
            # An ordinary user of the lab may open the tap device, as on a machine with udev; the machine's own
            # /dev/net/tun keeps its mode.
            setup.append("mkdir -p /dev/net; mount -t tmpfs -o mode=755 none /dev/net; mknod -m 666 /dev/net/tun c 10 200")
        setup.append("ip link set lo up")
        setup += [f"sysctl -qw {s} 2>/dev/null || true" for s in (
            "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv4.icmp_ratelimit=0",
            "net.ipv6.icmp.ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000", "net.ipv4.icmp_msgs_burst=100000",
            "'net.ipv4.ping_group_range=0 2147483647'", "'net.ipv4.ping_group_range=0 0'" if not lab.is_real_root else "kernel.ostype=Linux",
        )]
        setup.append("echo ready; exec cat >/dev/null")
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "\n".join(setup)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the lab's namespace '{name}' could not be set up")
        self.pid = self.holder.pid

    def argv(self, command, user=None):
        """The command line that runs `command` in here, as root or as the ordinary user `sailor`."""
        enter = ["nsenter", "-t", str(self.pid), "-n", "-m", "--"]
        if user:
            enter += ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all"]
        return enter + list(command)

    def run(self, command, timeout=20, user=None, **keywords):
        return self.lab.run(self.argv(command, user), timeout=timeout, **keywords)

    def start(self, command, user=None, **keywords):
        return self.lab.start(self.argv(command, user), **keywords)

    def check(self, command, timeout=20, user=None):
        """Runs a command that has to succeed; returns what it wrote."""
        result = self.run(command, timeout, user)
        if result.code != 0:
            raise RuntimeError(f"in {self.name}: {result}")
        return result.out

    def ip(self, batch):
        """`ip -batch` with these lines."""
        result = self.run(["ip", "-batch", "-"], input="\n".join(line.strip() for line in batch.strip().splitlines()))
        if result.code != 0:
            raise RuntimeError(f"in {self.name}: {result}")

    def listening(self, port, protocol="tcp"):
        """Whether a socket in here listens on the port (udp: is bound to it), read from /proc/PID/net."""
        for family in ("", "6"):
            try:
                with open(f"/proc/{self.pid}/net/{protocol}{family}") as table:
                    for line in table.readlines()[1:]:
                        fields = line.split()
                        if int(fields[1].rsplit(":", 1)[1], 16) == port and (protocol == "udp" or fields[3] == "0A"):
                            return True
            except OSError:
                pass
        return False

    def wait_listening(self, port, protocol="tcp", process=None, timeout=15):
        def ready():
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"{' '.join(process.args)[-300:]}: ended with {process.returncode}")
            return self.listening(port, protocol)

        if not until(ready, timeout):
            raise RuntimeError(f"nothing listens on {protocol} port {port} in {self.name}")


class Lab:
    """The three hosts. `router=False` leaves out the third (the benchmark does not need it)."""

    def __init__(self, router=True):
        # Real root: uid 0 of the initial user namespace. In a user namespace of its own the lab works too, without
        # device nodes and without the ordinary user.
        with open("/proc/self/uid_map") as uid_map:
            self.is_real_root = os.geteuid() == 0 and uid_map.read().split() == ["0", "0", "4294967295"]
        if os.geteuid() != 0:
            raise RuntimeError("the lab needs root, or to be run in `unshare -Urnm` (see scripts/test)")
        self.directory = tempfile.mkdtemp(prefix="portolan-lab-")
        os.chmod(self.directory, 0o755)
        self.processes, self.lock, self.closed = [], threading.Lock(), False
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, lambda n, _: sys.exit(128 + n))
        self.home = self.path("home", directory=True)
        if self.is_real_root:
            os.chown(self.home, UID, UID)
        self.host = Namespace(self, "host", etc=True, devices=True)
        self.server = Namespace(self, "server", etc=True)
        self.router = Namespace(self, "router") if router else None
        self._wire()
        self.set_resolvers([SERVER4])

    def path(self, name, directory=False):
        """A path in the lab's temporary directory."""
        path = os.path.join(self.directory, name)
        if directory:
            os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        os.chmod(path, mode)
        return path

    def set_resolvers(self, addresses, extra=""):
        """The host's /etc/resolv.conf (the lab's own copy), replaced by rename as DHCP clients do."""
        temporary = os.path.join(self.host.etc, ".resolv.conf.new")
        with open(temporary, "w") as file:
            file.write("".join(f"nameserver {a}\n" for a in addresses) + extra)
        os.rename(temporary, os.path.join(self.host.etc, "resolv.conf"))

    def set_hosts(self, text=""):
        """The host's /etc/hosts (the lab's own copy), replaced by rename."""
        temporary = os.path.join(self.host.etc, ".hosts.new")
        with open(temporary, "w") as file:
            file.write("127.0.0.1 localhost\n::1 localhost ip6-localhost\n" + text)
        os.rename(temporary, os.path.join(self.host.etc, "hosts"))

    def _wire(self):
        host, server, router = self.host, self.server, self.router
        # No DAD here: accept_dad is 0 in each namespace, so an address can be used at once.
        host.ip(f"""link add h-s type veth peer name s-h netns {server.pid}
            addr add {HOST4}/24 dev h-s
            addr add {HOST6}/64 dev h-s nodad
            link set h-s up""")
        server.ip(f"""addr add {SERVER4}/24 dev s-h
            addr add {SECOND4}/24 dev s-h
            addr add {SERVER6}/64 dev s-h nodad
            addr add {SECOND6}/64 dev s-h nodad preferred_lft 0
            link set s-h up""")
        if router is None:
            host.ip(f"route add default via {SERVER4}\nroute add default via {SERVER6}")
            return
        for namespace in (host, server, router):
            namespace.check(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"])
        host.ip(f"""link add h-r type veth peer name r-h netns {router.pid}
            addr add 203.0.113.1/24 dev h-r
            addr add 2001:db8:2::1/64 dev h-r nodad
            link set h-r up""")
        router.ip(f"""link add r-s type veth peer name s-r netns {server.pid}
            addr add {ROUTER4}/24 dev r-h
            addr add {ROUTER6}/64 dev r-h nodad
            addr add 198.18.0.1/24 dev r-s
            addr add 2001:db8:3::1/64 dev r-s nodad
            link set r-h up
            link set r-s mtu 1280 up
            route add 198.18.1.0/24 dev r-s
            route add blackhole 198.18.2.0/24
            route add unreachable 2001:db8:4::/64
            route add blackhole 2001:db8:5::/64""")
        router.check(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
        # Nobody answers ARP for 198.18.1.0/24, and the router finds out soon. (An `unreachable` route would do, but the
        # kernel sends its ICMP error sparingly: ip_error's budget is spent by one traceroute.)
        router.check(["sysctl", "-qw", "net.ipv4.neigh.r-s.mcast_solicit=1", "net.ipv4.neigh.r-s.retrans_time_ms=20"])
        server.ip(f"""addr add {FAR4}/24 dev s-r
            addr add {FAR6}/64 dev s-r nodad
            link set s-r mtu 1280 up
            route add 203.0.113.0/24 via 198.18.0.1
            route add 2001:db8:2::/64 via 2001:db8:3::1""")
        host.ip(f"""route add default via {ROUTER4}
            route add default via {ROUTER6}""")
        # The first packets wait for the links to settle and for the routers' ICMP budget to fill.
        for address in (FAR4, FAR6):
            until(lambda: host.run(["ping", "-q", "-c1", "-W1", address]).code == 0, 10)

    def environment(self, **more):
        """An environment with the lab's home and without what would lead a client past the lab (proxies, ...)."""
        kept = {k: v for k, v in os.environ.items()
                if not k.lower().endswith("_proxy") and not k.startswith(("PIP_", "GIT_", "PYTHON"))}
        kept.update(HOME=self.home, LC_ALL="C.UTF-8", TMPDIR=self.directory, PYTHONDONTWRITEBYTECODE="1",
                    GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_TERMINAL_PROMPT="0")
        kept.update(more)
        return kept

    def start(self, argv, **keywords):
        """Starts a process that ends with the lab at the latest."""
        keywords.setdefault("stdin", subprocess.DEVNULL)
        keywords.setdefault("env", self.environment())
        if "stdout" not in keywords:
            keywords["stdout"] = keywords["stderr"] = self.log()
        process = subprocess.Popen(argv, preexec_fn=die_with_parent, **keywords)
        with self.lock:
            self.processes.append(process)
        return process

    def log(self):
        return open(self.path("servers.log"), "a")

    def run(self, argv, timeout=20, input=None, **keywords):
        """Runs to the end; on a timeout kills it (its process group) and says so in the result."""
        began = time.monotonic()
        keywords.setdefault("env", self.environment())
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, preexec_fn=die_with_parent, **keywords)
        timed_out = False
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(process.pid, signal.SIGKILL)
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                out, err = "", "(its output stayed open after it was killed)"
        return Result(argv, process.returncode, out, err, time.monotonic() - began, timed_out)

    def stop(self, process, number=signal.SIGTERM, timeout=5):
        """Ends one process that was started here and returns its status."""
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with self.lock:
            if process in self.processes:
                self.processes.remove(process)
        return process.returncode

    def close(self):
        if self.closed:
            return
        self.closed = True
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 3
        for process in self.processes:
            try:
                process.wait(max(0.05, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for namespace in (self.host, self.server, self.router):
            if namespace is not None:
                namespace.holder.stdin.close()
                namespace.holder.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _copy_etc(target):
    """A private copy of /etc; what cannot be read is left out. The lab's user is added to passwd, group and shadow."""
    os.makedirs(target)
    for entry in os.scandir("/etc"):
        destination = os.path.join(target, entry.name)
        try:
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), destination)
            elif entry.is_dir():
                shutil.copytree(entry.path, destination, symlinks=True, ignore_dangling_symlinks=True)
            elif entry.is_file():
                shutil.copy2(entry.path, destination)
        except (OSError, shutil.Error):
            pass
    resolv = os.path.join(target, "resolv.conf")
    if os.path.islink(resolv):
        os.unlink(resolv)
    home = os.path.join(os.path.dirname(target), "home")
    for name, line in (("passwd", f"{USER}:x:{UID}:{UID}::{home}:/bin/sh\n"), ("group", f"{USER}:x:{UID}:\n"),
                       ("shadow", f"{USER}:*:19000:0:99999:7:::\n")):
        try:
            with open(os.path.join(target, name), "a") as file:
                file.write(line)
        except OSError:
            pass
