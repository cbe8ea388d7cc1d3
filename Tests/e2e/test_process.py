"""The process around the sandbox: exit status, signals, terminal, ids, leftovers, attach, and what a mistake gets.

Needs the release binary only (PORTOLAN); the parts that need more than one network use namespaces of their own.
"""

import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time
import unittest

from lab import UID, until
from servers import Missing

PORTOLAN = os.environ.get("PORTOLAN", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.build/release/portolan"))
PORTOLAN = os.path.realpath(PORTOLAN)


def run(*arguments, timeout=20, **keywords):
    return subprocess.run([PORTOLAN, *arguments], capture_output=True, text=True, timeout=timeout, **keywords)


def processes_with(marker):
    """Pids whose command line has the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return [pid for pid in found if pid != os.getpid()]


class Status(unittest.TestCase):
    def test_exit_status(self):
        """the command's exit status is portolan's; 128+N for a signal, 127 not found, 126 not executable"""
        for command, status in ((["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137),
                                (["sh", "-c", "kill -TERM $$"], 143), (["no-such-command"], 127), (["/etc/passwd"], 126)):
            with self.subTest(command=command):
                self.assertEqual(run("run", "--", *command).returncode, status)

    def test_usage(self):
        """a bad option exits 2 and says which"""
        for arguments in (["run"], ["run", "--mtu", "5", "--", "true"], ["run", "--subnet", "10.0.2.5/24", "--", "true"],
                          ["run", "--subnet", "nonsense", "--", "true"], ["run", "--dns", "nobody", "--", "true"],
                          ["run", "--mac", "ff:ff:ff:ff:ff:ff", "--", "true"], ["run", "--no-such", "--", "true"],
                          ["attach"], ["nonsense"], ["run", "--interface", "a/b", "--", "true"]):
            with self.subTest(arguments=arguments):
                result = run(*arguments)
                self.assertEqual(result.returncode, 2, result)
                self.assertTrue(result.stderr.strip(), "nothing on stderr")

    def test_cannot_start(self):
        """what cannot start exits 125 with one sentence: no such target, an unwritable capture, a bad /dev/net/tun"""
        for arguments in (["attach", "999999999"], ["attach", "no-such-namespace"], ["attach", "/etc/passwd"],
                          ["run", "--capture", "/no/such/folder/x.pcap", "--", "true"]):
            with self.subTest(arguments=arguments):
                result = run(*arguments)
                self.assertEqual(result.returncode, 125, result)
                self.assertRegex(result.stderr, r"^portolan: error: [^\n]+\n$")
        for setting, word in (("mount --bind /dev/null /dev/net/tun", "tun device"), ("mount -t tmpfs none /dev/net", "missing")):
            with self.subTest(setting=setting):
                result = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                         f"{setting} || exit 77; exec {PORTOLAN} run -- true"], capture_output=True, text=True)
                if result.returncode == 77:
                    raise Missing("this user may not mount over /dev/net")
                self.assertEqual(result.returncode, 125, result)
                self.assertIn(word, result.stderr)

    def test_full_disk(self):
        """a capture on a full disk is said once; the network goes on and the command's status stays"""
        result = run("run", "--capture", "/dev/full", "--", "sh", "-c", "ping -q -c5 -i0.2 10.0.2.1 >/dev/null && exit 4")
        self.assertEqual(result.returncode, 4, result)
        self.assertEqual(result.stderr.count("The capture ends early"), 1, result)

    def test_subnet_collision(self):
        """a subnet that the host uses is refused when asked for, and avoided when it was the default"""
        inner = ("ip link add d0 type veth peer name d1 && ip addr add 10.0.2.77/24 dev d0 && ip link set d0 up || exit 77; "
                 f"{PORTOLAN} run --subnet 10.0.2.0/24 -- true; echo $?; {PORTOLAN} run -- ip -4 -o addr show tap0")
        result = subprocess.run(["unshare", "--net", "sh", "-c", inner], capture_output=True, text=True)
        if result.returncode == 77:
            raise Missing("no veth pair to be had here")
        self.assertEqual(result.stdout.splitlines()[0], "125", result)
        self.assertIn("--subnet", result.stderr)
        self.assertIn("10.0.3.2/24", result.stdout)


class Streams(unittest.TestCase):
    def test_streams(self):
        """stdin, stdout and stderr pass through, byte for byte"""
        data = os.urandom(300_000)
        result = subprocess.run([PORTOLAN, "run", "--", "sh", "-c", "cat; echo word >&2"], input=data, capture_output=True)
        self.assertEqual(result.stdout, data)
        self.assertEqual(result.stderr, b"word\n")

    def test_descriptors(self):
        """descriptors that the caller passes reach the command; portolan's own do not"""
        read, write = os.pipe()
        result = run("run", "--", "bash", "-c", f"echo hello >&{write}; ls /proc/self/fd", pass_fds=[write])
        os.close(write)
        self.assertEqual(os.read(read, 100), b"hello\n")
        os.close(read)
        # 0, 1, 2, the pipe's, and the one that ls opens.
        self.assertLessEqual(len(result.stdout.split()), 5, result.stdout)

    def test_terminal(self):
        """a terminal passes through: the command has it, Ctrl-C reaches it once and portolan lives to give its status"""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(PORTOLAN, [PORTOLAN, "run", "--", "sh", "-c",
                                "test -t 0 || echo no-terminal; trap 'echo caught; n=1$n; [ ${#n} -gt 1 ] && exit 9' INT; "
                                "echo ready; i=0; while [ $i -lt 30 ]; do sleep 0.1; i=$((i+1)); [ -n \"$n\" ] && "
                                "[ $i -gt 25 ] && exit 5; done; exit 6"])
        seen = b""
        sent = False
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                chunk = os.read(terminal, 4096)
            except OSError:
                break
            if not chunk:
                break
            seen += chunk
            if b"ready" in seen and not sent:
                sent = True
                os.write(terminal, b"\x03")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        self.assertNotIn(b"no-terminal", seen)
        self.assertEqual(seen.count(b"caught"), 1, seen)
        self.assertEqual(status, 5, seen)

    def test_signals(self):
        """a signal sent to portolan reaches the command, whose trap decides"""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            with self.subTest(signal=number):
                process = subprocess.Popen(
                    [PORTOLAN, "run", "--", "sh", "-c",
                     f"trap 'echo got; exit 3' {number.value}; echo ready; while :; do sleep 0.05; done"],
                    stdout=subprocess.PIPE, text=True)
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(number)
                self.assertEqual(process.stdout.readline(), "got\n")
                self.assertEqual(process.wait(5), 3)
                process.stdout.close()


class Leftovers(unittest.TestCase):
    def test_killed(self):
        """when portolan is killed by SIGKILL, everything in the sandbox dies with it"""
        marker = f"9{os.getpid()}1"
        process = subprocess.Popen([PORTOLAN, "run", "--", "sh", "-c", f"sleep {marker} & setsid sleep {marker} & wait"])
        self.assertTrue(until(lambda: len(processes_with(f"sleep\0{marker}")) == 2, 5))
        process.kill()
        process.wait()
        self.assertTrue(until(lambda: not processes_with(f"sleep\0{marker}"), 5), "processes live on")

    def test_ended(self):
        """when the command ends, its background processes end, and no mount, socket or temporary file stays"""
        marker = f"9{os.getpid()}2"
        mounts = open("/proc/self/mountinfo").read()
        before = set(os.listdir("/tmp")), set(os.listdir("/run"))
        result = run("run", "--", "sh", "-c", f"setsid sleep {marker} >/dev/null 2>&1 & exit 0", timeout=10)
        self.assertEqual(result.returncode, 0)
        self.assertTrue(until(lambda: not processes_with(f"sleep\0{marker}"), 5), "a process lives on")
        self.assertEqual(open("/proc/self/mountinfo").read(), mounts)
        new = set(os.listdir("/tmp")) - before[0], set(os.listdir("/run")) - before[1]
        self.assertFalse([n for names in new for n in names if "portolan" in n or "resolv" in n], new)

    def test_resolv_conf(self):
        """/etc/resolv.conf inside is the gateway; the host's stays as it is"""
        with open("/etc/resolv.conf") as file:
            before = file.read()
        self.assertEqual(run("run", "--", "head", "-1", "/etc/resolv.conf").stdout, "nameserver 10.0.2.1\n")
        with open("/etc/resolv.conf") as file:
            self.assertEqual(file.read(), before)


class StartUp(unittest.TestCase):
    """What start-up and end of a sandbox cost (docs/performance.md), by what causes it: the time itself is measured by bench/compare."""

    def test_libraries(self):
        """libpcap is in the process for a capture only, and nothing of libmicrohttpd's without --tftp"""
        for options, wanted in (([], set()), (["--capture", "/dev/null"], {"libpcap"})):
            process = subprocess.Popen([PORTOLAN, "run", *options, "--", "sh", "-c", "echo; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            process.stdout.readline()
            with open(f"/proc/{process.pid}/maps") as file:
                maps = file.read()
            process.communicate()
            self.assertIn("libuv", maps)
            self.assertEqual({name for name in ("libpcap", "libmicrohttpd", "libgnutls") if name in maps}, wanted)

    @unittest.skipUnless(os.geteuid() == 0, "hides a library with a mount, which needs root")
    def test_without_library(self):
        """without libpcap everything but a capture works; that is status 125 and a sentence, and the file that was to be written stays as it is"""
        with open("/proc/self/maps") as file:
            folder = os.path.dirname(next(line.split()[-1] for line in file if "/libc.so" in line or "/libc-" in line))
        hidden = [name for name in ("libpcap.so.0.8", "libpcap.so.1") if os.path.exists(f"{folder}/{name}")]
        self.assertTrue(hidden, f"no libpcap in {folder}")
        script = "".join(f"mount --bind /dev/null {folder}/{name} && " for name in hidden) + 'exec "$@"'
        with tempfile.NamedTemporaryFile("w+") as capture:
            capture.write("kept")
            capture.flush()
            for options, status in (([], 0), (["--capture", capture.name], 125)):
                result = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", PORTOLAN, "run", *options, "--", "true"],
                                        capture_output=True, text=True, timeout=20)
                self.assertEqual(result.returncode, status, result)
                self.assertEqual("libpcap" in result.stderr, status == 125, result)
            with open(capture.name) as file:
                self.assertEqual(file.read(), "kept")

    def test_interface_ends_with_its_namespace(self):
        """the sandbox's interface is persistent: else its last descriptor takes it down, and we wait for that"""
        self.assertIn("persist on", run("run", "--", "ip", "-d", "link", "show", "tap0").stdout)


class Ids(unittest.TestCase):
    def test_uid(self):
        """the caller keeps its uid inside; --map-root makes it 0"""
        self.assertEqual(run("run", "--", "id", "-u").stdout.strip(), str(os.geteuid()))
        self.assertEqual(run("run", "--map-root", "--", "id", "-u").stdout.strip(), "0")

    def test_ordinary_user(self):
        """an ordinary user: own uid, no capabilities, ping of the gateway; /dev/net/tun opened by this test if need be"""
        with open("/proc/self/uid_map") as uid_map:
            if uid_map.read().split() != ["0", "0", "4294967295"]:
                raise Missing("this is an ordinary user's run already")
        mode = os.stat("/dev/net/tun").st_mode & 0o777
        if mode & 0o006 != 0o006:
            print(f"        (/dev/net/tun has mode {mode:o}; 666 for this test, as udev sets it elsewhere)")
            os.chmod("/dev/net/tun", 0o666)
        try:
            with tempfile.TemporaryDirectory() as folder:
                os.chmod(folder, 0o755)
                binary = os.path.join(folder, "portolan")
                subprocess.run(["cp", PORTOLAN, binary], check=True)
                command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all", binary, "run"]
                result = subprocess.run([*command, "--", "sh", "-c", "id -u; grep CapEff /proc/self/status; "
                                         "ping -c1 -W2 10.0.2.1 | grep -c ' 0% packet loss'; head -1 /etc/resolv.conf"],
                                        capture_output=True, text=True, timeout=20, cwd="/")
                self.assertEqual(result.stdout.split(),
                                 [str(UID), "CapEff:", "0000000000000000", "1", "nameserver", "10.0.2.1"], result)
                result = subprocess.run([*command, "--map-root", "--", "id", "-u"], capture_output=True, text=True, cwd="/")
                self.assertEqual(result.stdout.strip(), "0", result)
        finally:
            os.chmod("/dev/net/tun", mode)


class Attach(unittest.TestCase):
    def attach(self, target, *options):
        read, write = os.pipe()
        process = subprocess.Popen([PORTOLAN, "attach", "--ready-fd", str(write), *options, str(target)],
                                   pass_fds=[write], stderr=subprocess.PIPE, text=True)
        os.close(write)
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.wait(), process.stderr.close()))
        ready = os.read(read, 1)
        os.close(read)
        self.assertTrue(ready, "attach ended before it was ready: " + (process.stderr.read() if not ready else ""))
        return process

    def holder(self, *options):
        process = subprocess.Popen(["unshare", *options, "sh", "-c", "echo ready; exec sleep 60"],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def ping(self, pid, *user):
        return subprocess.run(["nsenter", "-t", str(pid), *user, "-n", "ping", "-c1", "-W2", "10.0.2.1"],
                              capture_output=True, text=True)

    def test_pid(self):
        """attach gives a process's namespaces network, and ends when they go away"""
        holder = self.holder("--user", "--map-root-user", "--net")
        process = self.attach(holder.pid)
        self.assertEqual(self.ping(holder.pid, "-U", "--preserve-credentials").returncode, 0)
        holder.kill()
        holder.wait()
        self.assertEqual(process.wait(10), 0)

    def test_netns_file(self):
        """attach takes the file of a namespace, and ends when it is deleted"""
        if os.geteuid() != 0:
            raise Missing("a named namespace needs root")
        name = f"portolan-test-{os.getpid()}"
        if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
            raise Missing("'ip netns add' is not possible here")
        self.addCleanup(lambda: subprocess.run(["ip", "netns", "del", name], capture_output=True))
        process = self.attach(name)
        result = subprocess.run(["ip", "netns", "exec", name, "ping", "-c1", "-W2", "10.0.2.1"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result)
        subprocess.run(["ip", "netns", "del", name], check=True)
        self.assertEqual(process.wait(10), 0)

    def test_stop(self):
        """attach stops at SIGTERM and takes its interface with it"""
        holder = self.holder("--user", "--map-root-user", "--net")
        process = self.attach(holder.pid)
        process.terminate()
        self.assertEqual(process.wait(5), 0)
        left = subprocess.run(["nsenter", "-t", str(holder.pid), "-U", "--preserve-credentials", "-n", "ip", "-o", "link"],
                              capture_output=True, text=True).stdout
        self.assertNotIn("tap0", left)

    def test_bubblewrap(self):
        """attach works for a bubblewrap sandbox"""
        if subprocess.run(["sh", "-c", "command -v bwrap"], capture_output=True).returncode != 0:
            raise Missing("bubblewrap is not installed")
        read, write = os.pipe()
        bwrap = subprocess.Popen(["bwrap", "--unshare-user", "--unshare-net", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
                                  "--info-fd", str(write), "sleep", "60"], pass_fds=[write], stderr=subprocess.PIPE, text=True)
        os.close(write)
        self.addCleanup(lambda: (bwrap.kill(), bwrap.wait(), bwrap.stderr.close()))
        information = b""
        while chunk := os.read(read, 4096):
            information += chunk
        os.close(read)
        match = re.search(rb'"child-pid":\s*(\d+)', information)
        if not match:
            raise Missing("bubblewrap does not work here: " + bwrap.stderr.read()[-200:])
        pid = int(match.group(1))
        self.attach(pid)
        self.assertEqual(self.ping(pid, "-U", "--preserve-credentials").returncode, 0)
