"""The command as a process: status, signals, terminal, descriptors, uids, what it finds in /etc and what it leaves behind."""

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from lab import PYTHON, UID, until
from support import EndToEnd, GATEWAY4


def alive(mark):
    """Processes with `mark` among their arguments."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if mark.encode() in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                pass
    return found


class Process(EndToEnd):
    """A test's sandboxes run Python programs with a word of their own among the arguments, by which they are found in /proc."""

    def setUp(self):
        self.not_the_standin("the stand-in is another process")
        self.mark = f"mark-{os.getpid()}-{self._testMethodName}"

    def launch(self, program, *options, **keywords):
        """Starts `program` (Python) inside; waits until it has said `up`."""
        keywords.setdefault("stderr", subprocess.DEVNULL)
        process = self.start([PYTHON, "-I", "-S", "-u", "-c", "import os, signal, sys, time\n" + program, self.mark], *options, **keywords)
        line = process.stdout.readline()
        self.assertEqual(line, b"up\n")
        return process

    def portolan(self, process):
        """The pid of portolan itself: nsenter executes it in place."""
        return process.pid

    def nothing_left(self):
        self.assertTrue(until(lambda: not alive(self.mark), 5), f"still there: {alive(self.mark)}")


class Status(Process):
    def test_exit_status(self):
        """the exit status is the command's: 0, 1, 3, 125, 255"""
        for code in (0, 1, 3, 125, 255):
            with self.subTest(code):
                self.assertEqual(self.inside(["sh", "-c", f"exit {code}"]).code, code)

    def test_killed_command(self):
        """a command that dies of signal N gives 128+N"""
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGHUP):
            with self.subTest(number.name):
                self.assertEqual(self.inside(["sh", "-c", f"ulimit -c 0; kill -{int(number)} $$"]).code, 128 + number)

    def test_not_a_command(self):
        """a command that is not there gives 127, one that cannot be executed 126, each with one line that names it"""
        plain = self.lab.write("plain.txt", "no program\n", 0o644)
        for command, code in (("no-such-command-anywhere", 127), ("/no/such/path", 127), (plain, 126), ("/etc", 126)):
            with self.subTest(command):
                result = self.inside([command])
                self.assertEqual(result.code, code, str(result))
                self.assertEqual(len(result.err.strip().splitlines()), 1, str(result))
                self.assertIn(command, result.err)

    def test_options_end_at_the_command(self):
        """what follows the command's name is the command's, with and without --"""
        for dashes in ([], ["--"]):
            result = self.lab.host.run([*self.command, "run", "--mtu", "1400", *dashes, "echo", "--mtu", "-v", "--", "--help"])
            self.assertEqual(result.out, "--mtu -v -- --help\n", str(result))

    def test_fast_and_slow_end(self):
        """50 sandboxes with nothing to do: all end with 0"""
        for _ in range(50):
            result = self.inside(["true"])
            self.assertEqual(result.code, 0, str(result))


class Signals(Process):
    def test_forwarded(self):
        """a signal sent to portolan reaches the command, once"""
        last = signal.SIGIO
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGALRM):
            with self.subTest(number.name):
                process = self.launch(f"""
def caught(n, _):
    os.write(1, b"%d\\n" % n)
signal.signal({int(number)}, caught)
signal.signal({int(last)}, caught)
print("up")
while True: signal.pause()
""")
                os.kill(self.portolan(process), number)
                self.assertEqual(process.stdout.readline(), b"%d\n" % number)
                # If it came twice, the second would come before this one.
                os.kill(self.portolan(process), last)
                self.assertEqual(process.stdout.readline(), b"%d\n" % last)
                process.kill()
    def test_default_action(self):
        """a signal with its default action ends the command, and portolan reports 128+N"""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            with self.subTest(number.name):
                process = self.launch("print('up')\ntime.sleep(60)")
                os.kill(self.portolan(process), number)
                self.assertEqual(process.wait(5), 128 + number)

    def test_mask_and_ignored(self):
        """the command has the caller's signal mask and ignored signals, not portolan's or init's"""
        start = f"import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGPIPE, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
        # A shell reports what it inherited; Python itself would ignore SIGPIPE.
        report = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
        wrapped = [PYTHON, "-I", "-S", "-c", start]
        outside = self.lab.host.run([*wrapped, "/usr/bin/env", *report])
        inside = self.lab.host.run([*wrapped, *self.argv(report)])
        self.assertEqual(inside.out, outside.out, str(inside))

    def test_kill_nine(self):
        """SIGKILL for portolan: everything inside is dead at once, daemons too"""
        process = self.launch("""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up")
        time.sleep(60)
time.sleep(60)
""")
        self.assertGreaterEqual(len(alive(self.mark)), 3)
        os.kill(self.portolan(process), signal.SIGKILL)
        self.nothing_left()

    def test_kill_nine_at_start(self):
        """SIGKILL for portolan at any moment of its start leaves nothing"""
        for step in range(40):
            process = self.start([PYTHON, "-I", "-S", "-c", "import time; time.sleep(60)", self.mark], stderr=subprocess.DEVNULL)
            time.sleep(step * 0.001)
            process.kill()
            process.wait()
        self.nothing_left()


class Leftovers(Process):
    def mounts(self):
        return self.lab.host.check(["cat", "/proc/self/mountinfo"])

    def links(self):
        return self.lab.host.check(["ip", "-o", "link"])

    def test_daemon(self):
        """what the command left running dies with it, and its terminal and pipes are free"""
        began = time.monotonic()
        result = self.inside(["sh", "-c", f"(trap '' TERM HUP; exec sleep 30) & setsid sleep 31 & exec {PYTHON} -c 'print(1)' {self.mark}"])
        self.assertEqual((result.code, result.out), (0, "1\n"), str(result))
        self.assertLess(time.monotonic() - began, 5)
        self.nothing_left()

    def test_host_untouched(self):
        """mounts, interfaces and temporary files of the host are the same after an end and after SIGKILL"""
        files = lambda: self.lab.host.check(["sh", "-c", "ls -a /tmp /run /dev/shm /var/tmp; cat /etc/resolv.conf"])
        before = self.mounts(), self.links(), files()
        self.succeeds(["sh", "-c", "echo spoilt > /etc/resolv.conf; mount -t tmpfs none /mnt; ip link set tap0 down"], "--map-root")
        process = self.launch("open('/etc/resolv.conf', 'w').write('spoilt')\nprint('up')\ntime.sleep(60)")
        os.kill(self.portolan(process), signal.SIGKILL)
        process.wait(5)
        self.nothing_left()
        self.assertEqual((self.mounts(), self.links(), files()), before)

    def test_no_descriptors_leak(self):
        """the command has stdin, stdout, stderr and the caller's own descriptors, nothing of portolan's"""
        ready, ready_end = os.pipe()
        mine, mine_end = os.pipe()
        try:
            script = "import os; print(*sorted(int(f) for f in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{f}')))"
            process = self.start([PYTHON, "-I", "-S", "-c", script], "--ready-fd", str(ready_end), pass_fds=[ready_end, mine_end])
            out = process.stdout.read().decode().split()
            self.assertEqual(out, ["0", "1", "2", str(mine_end)])
            os.close(ready_end)
            ready_end = -1
            self.assertEqual(os.read(ready, 10), b"1")
            self.assertEqual(os.read(ready, 10), b"")
        finally:
            for fd in (ready, ready_end, mine, mine_end):
                if fd >= 0:
                    os.close(fd)

    def test_pipe_closes_with_the_command(self):
        """a reader sees the end of the command's output when the command closes it, not when it ends"""
        process = self.launch("print('up')\nos.close(1)\ntime.sleep(60)")
        readable, _, _ = select.select([process.stdout], [], [], 5)
        self.assertTrue(readable, "portolan or its init holds the pipe open")
        self.assertEqual(process.stdout.read(), b"")

    def test_closed_streams(self):
        """a caller without stdin, stdout or stderr: the command runs, and has none either"""
        for closed in ("<&-", "<&- >&-", "<&- >&- 2>&-"):
            with self.subTest(closed):
                path = self.lab.path("descriptors")
                inner = f"for n in 0 1 2; do test -e /proc/self/fd/$n && echo $n; done > {path}; exit 4"
                result = self.lab.host.run(["sh", "-c", f'"$@" {closed}', "sh", *self.argv(["sh", "-c", inner])])
                self.assertEqual(result.code, 4, str(result))
                with open(path) as file:
                    # The loop's own stdout is the file.
                    self.assertEqual(file.read().split(), ["1"] + (["2"] if "2" not in closed else []))

    def test_interface_deleted(self):
        """a command that deletes its interface still gets signals and its status is reported"""
        process = self.launch("""
import subprocess
subprocess.run(["ip", "link", "delete", "tap0"], check=True)
signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
print("up")
time.sleep(60)
""", "--map-root")
        os.kill(self.portolan(process), signal.SIGUSR1)
        self.assertEqual(process.wait(5), 7)


class Nested(Process):
    def test_nested(self):
        """a sandbox in a sandbox, for root and an ordinary user: other subnets, and the network reaches through both"""
        for user in (None, True) if self.lab.is_real_root else (None,):
            with self.subTest(user=user):
                inner = ["sh", "-c", "ip -o addr show tap0; ping -q -c1 -W3 198.51.100.2 >/dev/null && echo reached"]
                result = self.inside([*self.command, "run", "--", *inner], user=user)
                for wanted in ("10.0.3.2/24", "fd00:706f:7274:1::2/64", "reached"):
                    self.assertIn(wanted, result.out, str(result))

    def test_routes_of_a_vpn(self):
        """a host that routes all of 10.0.0.0/8 elsewhere: the default moves out of it, a chosen subnet is refused"""
        script = "ip route add 10.0.0.0/8 via 198.51.100.2; ip route add 172.16.0.0/12 via 198.51.100.2; " + (
            '"$@" run -- ip -4 -o addr show tap0; "$@" run --subnet 10.9.0.0/16 -- true; echo $?')
        # Routes of a namespace of its own: a sandbox with root inside.
        script = script.replace("198.51.100.2", GATEWAY4)
        result = self.inside(["sh", "-c", script, "sh", *self.command], "--map-root")
        self.assertIn("192.168.200.2/24", result.out, str(result))
        self.assertEqual(result.out.split()[-1], "125", str(result))
        self.assertIn("10.0.0.0/8", result.err)


class Identity(Process):
    def test_root_may_change_users(self):
        """run by root: other users can be taken and files given to them, as apt does"""
        self.real_root()
        out = self.succeeds([PYTHON, "-I", "-S", "-c",
                             f"import os; f = '{self.lab.path('owned')}'; open(f, 'w'); os.chown(f, 42, 42); os.setgroups([7]); os.setgid(42); os.setuid(42); print(os.getuid(), os.getgid(), os.getgroups())"])
        self.assertEqual(out, "42 42 [7]\n")
        self.assertEqual(os.stat(self.lab.path("owned")).st_uid, 42)

    def test_ordinary_user(self):
        """run by an ordinary user: its uid and gid, no capability, no new privileges, cwd and environment kept"""
        self.real_root()
        command = self.argv(["sh", "-c", "id -u; id -g; pwd; echo $SAILOR; grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status"])
        result = self.lab.host.run(["env", "--chdir=/usr/lib", "SAILOR=yes", *command], user=True)
        self.assertEqual(result.out.split(), [str(UID), str(UID), "/usr/lib", "yes", "CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"],
                         str(result))

    def test_processes(self):
        """the command sees its own processes only; portolan's are out of reach"""
        out = self.succeeds(["sh", "-c", "ls -d /proc/[0-9]* | wc -l; ps -e -o comm= 2>/dev/null | head -1"])
        self.assertLessEqual(int(out.split()[0]), 4)

    def test_low_ports_and_ping(self):
        """an ordinary user listens on port 80 and pings inside"""
        self.real_root()
        program = """
s = socket.socket(); s.bind(("0.0.0.0", 80)); s.listen()
p = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); p.connect(("127.0.0.1", 0)); p.send(b"\\x08\\0\\0\\0\\0\\0\\0\\1x"); p.settimeout(3)
print(len(p.recv(100)))
"""
        self.assertEqual(self.python(program, user=True), "9")


class ResolvConf(Process):
    def test_contents(self):
        """resolv.conf names the gateway and keeps the host's search list and options"""
        self.lab.set_resolvers(["198.51.100.2"], "search lab.test example.test\noptions ndots:2\n")
        self.addCleanup(self.lab.set_resolvers, ["198.51.100.2"])
        out = self.succeeds(["cat", "/etc/resolv.conf"])
        self.assertEqual(out, f"nameserver {GATEWAY4}\nsearch lab.test example.test\noptions ndots:2\n")

    def test_links(self):
        """a resolv.conf that is a link is followed, also one that leads nowhere"""
        self.real_root()
        for name, prepare in (("to a file", "mkdir -p /run/portolan-test; echo nameserver 9.9.9.9 > /run/portolan-test/stub; ln -sf /run/portolan-test/stub /etc/resolv.conf"),
                              ("to a missing file", "mkdir -p /run/portolan-test; ln -sf ../run/portolan-test/none /etc/resolv.conf"),
                              ("to a missing directory", "ln -sf ../run/portolan-none/stub /etc/resolv.conf"),
                              ("out of /run", "ln -sf /nonexistent/stub /etc/resolv.conf")):
            with self.subTest(name):
                # A copy of the lab's /etc and an empty /run of its own, in a mount namespace that ends with the command.
                script = f"mount -t tmpfs none /run; echo here > /run/other; cp -a /etc /run/etc; mount --bind /run/etc /etc; {prepare}; exec \"$@\""
                result = self.lab.host.run(["unshare", "--mount", "sh", "-ec", script, "sh", *self.argv(["sh", "-c", "cat /etc/resolv.conf; cat /run/other"])])
                self.assertEqual(result.out, f"nameserver {GATEWAY4}\nhere\n", str(result))

    def test_name_service_sockets(self):
        """the sockets of nscd and systemd-resolved refuse inside, so that names go through the gateway"""
        self.real_root()
        program = """import socket, sys
for p in ("/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"):
    try: socket.socket(socket.AF_UNIX).connect(p); print("open")
    except ConnectionRefusedError: print("refused")
"""
        script = """mount -t tmpfs none /run; mkdir -p /run/nscd /run/systemd/resolve
%s -I -S -c 'import socket, time
a = socket.socket(socket.AF_UNIX); a.bind("/run/nscd/socket"); a.listen()
b = socket.socket(socket.AF_UNIX); b.bind("/run/systemd/resolve/io.systemd.Resolve"); b.listen()
print("up", flush=True); time.sleep(20)' > /run/up & p=$!
until grep -q up /run/up; do sleep 0.02; done
%s -I -S -c "$0"; "$@"; kill $p""" % (PYTHON, PYTHON)
        result = self.lab.host.run(["unshare", "--mount", "sh", "-c", script, program, *self.argv([PYTHON, "-I", "-S", "-c", program])])
        self.assertEqual(result.out, "open\nopen\nrefused\nrefused\n", str(result))


class Terminal(Process):
    """Portolan on a terminal of its own, as a login shell would start it."""

    def shell(self, *options):
        """An interactive bash on a pseudo-terminal, on the lab's host."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        env = self.lab.environment(PS1="$ ", HISTFILE="/dev/null", PORTOLAN_TEST=" ".join(self.command), TERM="dumb")
        shell = subprocess.Popen(self.lab.host.argv(["bash", "--norc", "--noprofile", "-i"]), stdin=slave, stdout=slave, stderr=slave,
                                 preexec_fn=own_terminal, env=env)
        os.close(slave)
        self.master, self.seen = master, b""
        self.addCleanup(self.end, shell)
        self.type("stty -echo; bind 'set enable-bracketed-paste off'; echo rea''dy\n")
        self.expect("ready")
        return shell

    def end(self, shell):
        shell.kill()
        shell.wait()
        os.close(self.master)

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, wanted, timeout=10):
        """Waits for `wanted` in what the terminal shows; forgets everything up to it."""
        end = time.monotonic() + timeout
        while wanted.encode() not in self.seen:
            readable, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            if not readable:
                self.fail(f"no {wanted!r} in {self.seen.decode(errors='replace')!r}")
            try:
                self.seen += os.read(self.master, 4096)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self.fail(f"the terminal hung up before {wanted!r}; seen {self.seen.decode(errors='replace')!r}")
        before, _, self.seen = self.seen.partition(wanted.encode())
        return before.decode(errors="replace")

    COUNT = ("import signal, sys, time; n = [0]; signal.signal(signal.SIGINT, lambda *_: n.__setitem__(0, n[0] + 1)); print('wait' + 'ing', flush=True)\\n"
             "for i in range(10): time.sleep(0.1)\\n"
             "print('count', n[0], flush=True); sys.exit(n[0])")

    def test_is_a_terminal(self):
        """the command has the caller's terminal"""
        self.shell()
        self.type("$PORTOLAN_TEST run -- sh -c 'test -t 0 && test -t 1 && tty </dev/tty && stty size; echo do''ne'\n")
        self.assertIn("24 200", self.expect("done"))

    def test_interrupt_once(self):
        """Ctrl-C reaches the command exactly once, and portolan waits for it and reports its status"""
        self.shell()
        self.type(f"$PORTOLAN_TEST run -- {PYTHON} -I -S -c $'{self.COUNT.replace(chr(39), chr(92) + chr(39))}'; echo sta''tus $?\n")
        self.expect("waiting")
        self.type("\x03")
        self.expect("count 1")
        self.expect("status 1")

    def test_interrupt_ends(self):
        """Ctrl-C ends a command that does not catch it; status 130; Ctrl-\\ gives 131"""
        self.shell()
        self.type("ulimit -c 0\n")
        for key, status in (("\x03", 130), ("\x1c", 131)):
            self.type("$PORTOLAN_TEST run -- sh -c 'echo wait''ing; exec sleep 20'; echo sta''tus $?\n")
            self.expect("waiting")
            self.type(key)
            self.expect(f"status {status}")
            self.expect("$ ")

    def test_stop_and_continue(self):
        """Ctrl-Z stops command and portolan, fg continues both, with the network"""
        self.shell()
        # What is typed before the shell has its terminal back is lost in the change of modes: wait for its prompt, and for the
        # command to say that it goes on.
        program = (f"import os, signal, sys; signal.signal(signal.SIGCONT, lambda *_: os.write(1, b'resu' + b'med')); print('wait' + 'ing', flush=True)\\n"
                   f"print('go' + 't', sys.stdin.readline()); sys.exit(9 if os.system('ping -q -c1 -W3 {GATEWAY4} >/dev/null') == 0 else 1)")
        self.type(f"$PORTOLAN_TEST run -- {PYTHON} -I -S -c $'{program.replace(chr(39), chr(92) + chr(39))}'\n")
        self.expect("waiting")
        self.type("\x1a")
        self.expect("Stopped")
        self.expect("$ ")
        self.type("fg; echo sta''tus $?\n")
        self.expect("resumed")
        self.type("hello\n")
        self.expect("got hello")
        self.expect("status 9")

    def test_stop_refused(self):
        """Ctrl-Z on a command that handles it stops nothing: the network goes on, and Ctrl-C works afterwards"""
        self.shell()
        program = (f"import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP]); print('wait' + 'ing', flush=True)\\n"
                   f"signal.sigwait([signal.SIGTSTP]); print('no' + 't now', flush=True); print('pi' + 'ng', os.system('ping -q -c1 -W3 {GATEWAY4} >/dev/null'), flush=True); signal.pause()")
        self.type(f"$PORTOLAN_TEST run -- {PYTHON} -I -S -c $'{program.replace(chr(39), chr(92) + chr(39))}' 2>/dev/null; echo sta''tus $?\n")
        self.expect("waiting")
        self.type("\x1a")
        self.expect("not now")
        self.expect("ping 0")
        self.type("\x03")
        self.assertNotIn("Stopped", self.expect("status 130"))

    def test_shell_inside(self):
        """an interactive bash inside has job control, and a script that ran it has its terminal back"""
        self.shell()
        # Not an interactive shell but a script in between: nobody else would take the terminal back.
        script = self.lab.write("session.sh", "PS1='$ ' $PORTOLAN_TEST run -- bash --norc --noprofile -i\necho sta''tus $?\nread -r answer </dev/tty && echo answer $answer\n", 0o755)
        self.type(f"bash {script}\n")
        self.type("stty -echo; echo in''side\n")
        before = self.expect("inside")
        self.assertNotIn("no job control", before)
        self.type("sh -c 'echo wait''ing; exec sleep 30'\n")
        self.expect("waiting")
        self.type("\x1a")
        self.expect("Stopped")
        self.expect("$ ")
        self.type("disown -a; echo st''ill\n")
        self.expect("still")
        self.type("exit 5\n")
        self.expect("status 5")
        self.type("back\n")
        self.expect("answer back")

    def test_hang_up(self):
        """when the terminal goes away, command and portolan do too"""
        shell = self.shell()
        self.type(f"exec $PORTOLAN_TEST run -- {PYTHON} -I -S -c 'import time; print(\"wait\" + \"ing\", flush=True); time.sleep(60)' {self.mark}\n")
        self.expect("waiting")
        os.close(self.master)
        self.master = os.open("/dev/null", os.O_RDONLY)
        self.nothing_left()
        self.assertEqual(shell.wait(5), 129)
