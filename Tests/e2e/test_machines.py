"""`portolan serve`: the links of virtual machines, each with a network namespace in place of a machine (machine.py), and the switch."""

import os
import signal
import socket
import struct
import subprocess
import time

import services
from lab import HOST4, PYTHON, SERVER4, SERVER6, rests, until
from support import EndToEnd, GATEWAY4, GATEWAY6, PRELUDE

MACHINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "machine.py")
LINKS = ("qemu", "tcp", "dgram", "vfkit", "bess", "vmnet", "hybrid-vsock", "serial")


class Machine:
    """A namespace with an interface eth0 whose frames go over a link."""

    def __init__(self, test, link, name="vm", configure=None, **keywords):
        self.test, self.lab = test, test.lab
        self.process = test.lab.host.start(
            [PYTHON, "-I", "-S", "-u", MACHINE, link, name], stdout=subprocess.PIPE, stderr=test.lab.log(), **keywords)
        test.addCleanup(test.lab.stop, self.process)
        test.assertEqual(self.process.stdout.readline(), b"ready\n", f"{link} {name}")
        self.ip("link set lo up")
        if configure:
            self.configure(*configure)

    def argv(self, command):
        return ["nsenter", "-t", str(self.process.pid), "-n", "--", *command]

    def run(self, command, timeout=20, **keywords):
        return self.lab.host.run(self.argv(command), timeout=timeout, **keywords)

    def start(self, command, **keywords):
        process = self.lab.host.start(self.argv(command), **keywords)
        self.test.addCleanup(self.lab.stop, process)
        return process

    def ip(self, words):
        result = self.run(["ip", *words.split()])
        self.test.assertEqual(result.code, 0, str(result))

    def configure(self, last4, last6):
        self.ip(f"addr add 10.0.2.{last4}/24 dev eth0")
        self.ip(f"addr add fd00:706f:7274::{last6}/64 dev eth0 nodad")
        self.ip(f"route add default via {GATEWAY4}")
        self.ip(f"-6 route add default via {GATEWAY6}")

    def python(self, program, *arguments, timeout=20):
        result = self.run([PYTHON, "-I", "-S", "-c", PRELUDE + program, *map(str, arguments)], timeout=timeout)
        self.test.assertEqual(result.code, 0, str(result))
        return result.out.rstrip("\n")

    def stop(self):
        self.lab.stop(self.process)


class Machines(EndToEnd):
    def setUp(self):
        self.not_the_standin("the stand-in has no such command")

    def path(self, name):
        path = self.lab.path(f"{name}-{os.getpid()}.sock" + ("_1024" if name == "hybrid-vsock" else ""))
        if os.path.exists(path):
            os.unlink(path)
        return path

    def link(self, kind):
        if kind == "tcp":
            return "tcp://127.0.0.1:15001"
        return f"{kind}:{self.path(kind)}"

    def serve(self, *links, options=(), **keywords):
        ready, signal_fd = os.pipe()
        argv = [*self.command, "serve", *(word for link in links for word in ("--listen", link)), "--ready-fd", str(signal_fd), *options]
        keywords.setdefault("stdout", self.lab.log())
        keywords.setdefault("stderr", subprocess.STDOUT)
        process = self.lab.host.start(argv, pass_fds=[signal_fd], **keywords)
        self.addCleanup(self.lab.stop, process)
        os.close(signal_fd)
        self.assertEqual(os.read(ready, 1), b"1")
        os.close(ready)
        return process


class Links(Machines):
    TRANSFER = """
sys.path.insert(0, sys.argv[3])
import services
address, count = sys.argv[1], int(sys.argv[2])
wanted = services.stream_digest(count)
s = tcp(address, 7002, 60)
for chunk in services.stream(count): s.sendall(chunk)
s.shutdown(socket.SHUT_WR)
print(everything(s).decode().split() == [wanted, str(count)])
s = tcp(address, 7003, 60)
s.sendall(b"%d\\n" % count)
sha = hashlib.sha256()
print((services.read_to_end(s, sha), sha.hexdigest()) == (count, wanted))
u = udp(address, 7101, timeout=1)
# A datagram of 60,000 bytes is 42 frames, each of which a link may lose: one of several must come back whole.
for size in map(int, sys.argv[4:]):
    for _ in range(5):
        data = os.urandom(size)
        u.send(data)
        try: answer = u.recv(70000)
        except TimeoutError: continue
        if answer == data: break
    else: print("datagram", size)
"""

    def everything(self, machine, count=8 << 20, sizes=(0, 1, 1400, 9000, 60000)):
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                out = machine.python(self.TRANSFER, address, count, os.path.dirname(services.__file__), *sizes, timeout=60)
                self.assertEqual(out.split(), ["True", "True"])
        for address in (GATEWAY4, GATEWAY6, SERVER4, SERVER6):
            result = machine.run(["ping", "-q", "-c", "2", "-i", "0.2", "-W", "3", address])
            self.assertEqual(result.code, 0, str(result))

    def test_each(self):
        """TCP both ways with checksum, UDP up to 60,000 bytes and ping, IPv4 and IPv6, over every kind of socket"""
        for kind in LINKS:
            with self.subTest(kind):
                link = self.link(kind)
                process = self.serve(link)
                machine = Machine(self, link, configure=(2, "2"))
                self.everything(machine)
                machine.stop()
                self.assertEqual(self.lab.stop(process), 0)
                if kind != "tcp":
                    self.assertFalse(os.path.exists(link.partition(":")[2]), "the socket's file is left")

    def test_mtus(self):
        """machines of MTU 9000 and 65520"""
        for mtu in (9000, 65520):
            for kind in ("qemu", "bess", "dgram"):
                with self.subTest(f"{kind} {mtu}"):
                    link = self.link(kind)
                    process = self.serve(link, options=["--mtu", str(mtu)])
                    machine = Machine(self, link, configure=(2, "2"))
                    machine.ip(f"link set eth0 mtu {mtu}")
                    # What fits the machine's MTU says "don't fragment", and the path behind takes 1500.
                    self.everything(machine, sizes=(0, 1, 1400))
                    machine.stop()
                    self.lab.stop(process)

    def test_stdio(self):
        """frames over stdin and stdout; the end of stdin is the end"""
        ours, theirs = socket.socketpair()
        process = self.serve("stdio", stdin=theirs, stdout=theirs, stderr=self.lab.log())
        machine = self.lab.host.start([PYTHON, "-I", "-S", "-u", MACHINE, "stdio", "vm"], stdin=ours, stdout=ours,
                                      stderr=subprocess.PIPE)
        ours.close()
        theirs.close()
        self.assertEqual(machine.stderr.readline(), b"ready\n")
        enter = ["nsenter", "-t", str(machine.pid), "-n"]
        self.lab.host.check([*enter, "ip", "addr", "add", "10.0.2.2/24", "dev", "eth0"])
        self.lab.host.check([*enter, "ip", "route", "add", "default", "via", GATEWAY4])
        out = self.lab.host.check([*enter, PYTHON, "-I", "-S", "-c", PRELUDE + "s = tcp(sys.argv[1], 7001); s.sendall(b'hi'); print(s.recv(2))", SERVER4])
        self.assertEqual(out, "b'hi'\n")
        self.lab.stop(machine)
        self.assertEqual(process.wait(5), 0)

    def test_descriptor(self):
        """fd:N is a stream, packet or datagram socket that somebody else made"""
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
            with self.subTest(kind.name):
                ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
                ours.settimeout(5)
                ready, signal_fd = os.pipe()
                process = self.lab.host.start([*self.command, "serve", "--listen", f"fd:{theirs.fileno()}", "--ready-fd", str(signal_fd)],
                                              pass_fds=[signal_fd, theirs.fileno()])
                self.addCleanup(self.lab.stop, process)
                os.close(signal_fd)
                theirs.close()
                self.assertEqual(os.read(ready, 1), b"1")
                os.close(ready)
                ask = bytes.fromhex("ffffffffffff" "525400000099" "0806" "0001080006040001" "525400000099" "0a000202" "000000000000" "0a000201")
                ours.send((struct.pack(">I", len(ask)) if kind == socket.SOCK_STREAM else b"") + ask)
                answer = b""
                while b"\x0a\x00\x02\x01\x52\x54" not in answer:
                    answer = ours.recv(2000)
                if kind != socket.SOCK_DGRAM:
                    ours.close()
                    self.assertEqual(process.wait(5), 0)
                else:
                    self.lab.stop(process)
                    ours.close()

    def test_dhcp(self):
        """a machine finds address, route, resolver and MTU by DHCP, IPv4 and IPv6"""
        self.need("udhcpc")
        link = self.link("qemu")
        self.serve(link, options=["--mtu", "1400"])
        machine = Machine(self, link)
        script = self.lab.write("udhcpc.sh", """#!/bin/sh
[ "$1" = bound ] && echo "$ip $mask $router $dns $mtu" || true
""", 0o755)
        result = machine.run(["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-O", "mtu", "-s", script])
        self.assertEqual(result.code, 0, str(result))
        self.assertIn("10.0.2.2 24 10.0.2.1 10.0.2.1 1400", result.out + result.err)
        found = until(lambda: "fd00:706f:7274:" in machine.run(["ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"]).out, 10)
        self.assertTrue(found, "no address by router advertisement")

    def test_ports(self):
        """-p reaches the first machine, or the one whose address is named"""
        link = self.link("qemu")
        self.serve(link, options=["-p", "13001:7010", "-p", "13002:10.0.2.3:7010", "-p", "13003:[fd00:706f:7274::3]:7010"])
        for name, last in (("a", "2"), ("b", "3")):
            machine = Machine(self, link, name, configure=(last, last))
            server = machine.start([PYTHON, "-I", "-S", "-u", os.path.abspath(services.__file__), f"10.0.2.{last}", f"fd00:706f:7274::{last}"],
                                   stdout=subprocess.PIPE)
            self.assertEqual(server.stdout.readline(), b"ready\n")
        for port, address, seen in ((13001, HOST4, SERVER4), (13002, HOST4, SERVER4), (13003, "2001:db8:1::1", SERVER6)):
            with self.subTest(port):
                out = self.lab.server.check([PYTHON, "-I", "-S", "-c", PRELUDE + "print(everything(tcp(sys.argv[1], int(sys.argv[2]))).decode())", address, str(port)])
                self.assertEqual(out.split()[0], seen)

    def test_iperf3(self):
        """iperf3 both ways over the stream and the datagram link"""
        import servers

        servers.iperf3(self.lab)
        for kind in ("qemu", "dgram"):
            link = self.link(kind)
            process = self.serve(link)
            machine = Machine(self, link, configure=(2, "2"))
            for options in ([], ["-R"], ["-P", "4"], ["-R", "-P", "4"]):
                with self.subTest(f"{kind} {options}"):
                    result = machine.run(["iperf3", "-c", SERVER4, "-p", str(servers.IPERF), "-t", "1", *options])
                    self.assertEqual(result.code, 0, str(result))
            machine.stop()
            self.lab.stop(process)


class ComeAndGo(Machines):
    def connected(self, link, name="vm"):
        machine = Machine(self, link, name, configure=(2, "2"))
        out = machine.python("s = tcp(sys.argv[1], 7001); s.sendall(b'hi'); print(s.recv(2))", SERVER4)
        self.assertEqual(out, "b'hi'")
        return machine

    def test_again(self):
        """a machine goes, even by SIGKILL, and comes back on the same socket, five times"""
        for kind in LINKS:
            with self.subTest(kind):
                link = self.link(kind)
                process = self.serve(link)
                for _ in range(5):
                    machine = self.connected(link)
                    machine.process.kill()
                    machine.process.wait()
                self.assertIsNone(process.poll())
                self.lab.stop(process)

    def test_out_of_descriptors(self):
        """with no descriptor left machines are sent away, Portolan neither ends nor spins, and serves again when there are some"""
        for kind in ("qemu", "bess"):
            with self.subTest(kind):
                link = self.link(kind)
                process = self.serve(link)
                used = len(os.listdir(f"/proc/{process.pid}/fd"))
                self.lab.host.check(["prlimit", "--pid", str(process.pid), f"--nofile={used + 8}:4096"])
                machines = []
                for _ in range(40):
                    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == "qemu" else socket.SOCK_SEQPACKET)
                    s.settimeout(5)
                    s.connect(link.partition(":")[2])
                    machines.append(s)

                def is_sent_away(s):
                    s.setblocking(False)
                    try:
                        return s.recv(1) == b""
                    except ConnectionResetError:
                        return True
                    except BlockingIOError:
                        return False

                self.assertTrue(until(lambda: sum(map(is_sent_away, machines)) >= 30, 5), "those beyond are not sent away")
                self.assertTrue(rests(process.pid, 0.02), "it spins")
                for s in machines:
                    s.close()
                self.connected(link)
                self.lab.stop(process)

    def test_forbidden_socket(self):
        """a machine whose datagram socket nobody else may write to is told of, and the next one is served"""
        if os.geteuid() != 0 or not self.lab.is_real_root:
            self.skipTest("needs an ordinary user beside root")
        path = self.path("dgram")
        log = self.lab.path("forbidden.log")
        # A place that the ordinary user who serves may write to.
        os.chmod(os.path.dirname(path), 0o777)
        with open(log, "wb") as file:
            process = self.serve(f"dgram:{path}", user=True, stderr=file)
        own = f"{path}.own"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(own)
            os.chmod(own, 0o700)
            asks = bytes.fromhex("ffffffffffff 525400000009 0806 0001080006040001 525400000009 0a000209 000000000000 0a000201")
            s.connect(path)
            s.send(asks)
            self.assertTrue(until(lambda: "only others may write to" in open(log).read()), open(log).read())
            os.chmod(own, 0o777)
            s.settimeout(5)
            s.send(asks)
            self.assertEqual(s.recv(2000)[20:22], b"\0\2", "an ARP reply")
        self.assertIsNone(process.poll())

    def test_stale_socket(self):
        """a socket file of a process that was killed is no hindrance; one in use, or another file, is"""
        for kind in ("qemu", "dgram", "bess"):
            with self.subTest(kind):
                link = self.link(kind)
                first = self.serve(link)
                second = self.lab.host.run([*self.command, "serve", "--listen", link])
                self.assertEqual(second.code, 125, str(second))
                self.assertIn("in use", second.err)
                first.send_signal(signal.SIGKILL)
                first.wait()
                self.assertTrue(os.path.exists(link.partition(":")[2]))
                third = self.serve(link)
                self.connected(link).stop()
                self.lab.stop(third)
        plain = self.lab.write("not-a-socket", "x")
        result = self.lab.host.run([*self.command, "serve", "--listen", f"qemu:{plain}"])
        self.assertEqual(result.code, 125, str(result))
        self.assertTrue(os.path.exists(plain))

    def test_nonsense(self):
        """empty frames, short frames, a length that cannot be, an end within a frame: the machine is sent away or goes on; others notice nothing"""
        link = self.link("qemu")
        process = self.serve(link)
        other = self.connected(link, "other")
        path = link.partition(":")[2]
        echo = bytes.fromhex("ffffffffffff" "525400000077" "0806" "0001080006040001" "525400000077" "0a000209" "000000000000" "0a000201")
        framed = struct.pack(">I", len(echo)) + echo

        def talk(data, answers):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(5)
            s.connect(path)
            s.sendall(data)
            got = b""
            if answers:
                while b"\x0a\x00\x02\x01\x52\x54" not in got:
                    piece = s.recv(5000)
                    self.assertTrue(piece, "sent away")
                    got += piece
            else:
                try:
                    while s.recv(5000):
                        pass
                except ConnectionResetError:
                    pass
            s.close()

        talk(b"\0\0\0\0" * 1000 + framed, True)
        talk(b"".join(struct.pack(">I", n) + bytes(n) for n in range(1, 60)) + framed, True)
        talk(struct.pack(">I", 69_632) + bytes(69_632) + framed, True)
        talk(b"\xff\xff\xff\xff" + bytes(100), False)
        talk(struct.pack(">I", 69_633), False)
        for cut in (1, 3, 4, 20):  # and then gone
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            s.sendall(framed[:cut])
            s.close()
        # One byte at a time.
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(path)
        for byte in framed:
            s.sendall(bytes([byte]))
        got = b""
        while b"\x0a\x00\x02\x01\x52\x54" not in got:
            got += s.recv(5000)
        s.close()
        self.assertEqual(other.python("s = tcp(sys.argv[1], 7001); s.sendall(b'hi'); print(s.recv(2))", SERVER4), "b'hi'")
        self.assertIsNone(process.poll())

    def test_slow(self):
        """a machine that is stopped in the middle of a download holds up nobody, costs no CPU, and goes on where it was"""
        for kind in ("qemu", "dgram", "bess"):
            with self.subTest(kind):
                link = self.link(kind)
                second = f"qemu:{self.path('second')}"
                process = self.serve(link, second)
                slow = Machine(self, link, "slow", configure=(2, "2"))
                download = slow.start([PYTHON, "-I", "-S", "-u", "-c", PRELUDE + """
s = tcp(sys.argv[1], 7003, 60)
s.sendall(b"%d\\n" % (64 << 20))
got = len(s.recv(100000))
print("begun")
while piece := s.recv(1 << 18): got += len(piece)
print(got)
""", SERVER4], stdout=subprocess.PIPE, text=True)
                self.assertEqual(download.stdout.readline(), "begun\n")
                slow.process.send_signal(signal.SIGSTOP)
                try:
                    other = Machine(self, second, "other", configure=(3, "3"))
                    began = time.monotonic()
                    out = other.python(Links.TRANSFER, SERVER4, 8 << 20, os.path.dirname(services.__file__), timeout=30)
                    self.assertEqual(out.split(), ["True", "True"])
                    self.assertLess(time.monotonic() - began, 10)
                    self.assertTrue(rests(process.pid, 0.02), "it goes on using the CPU")
                finally:
                    slow.process.send_signal(signal.SIGCONT)
                self.assertEqual(download.stdout.readline(), f"{64 << 20}\n")
                slow.stop()
                other.stop()
                self.lab.stop(process)


class Switch(Machines):
    def three(self, *options):
        link, other = self.link("qemu"), self.link("bess")
        process = self.serve(link, other, options=options)
        return process, [Machine(self, l, n, configure=(i, str(i))) for l, n, i in ((link, "a", 2), (link, "b", 3), (other, "c", 4))]

    def reaches(self, source, address):
        return source.run(["ping", "-q", "-c", "1", "-W", "2", address]).code == 0

    def test_one_another(self):
        """machines see one another, IPv4 and IPv6, on one socket and across two, also with TCP"""
        _, machines = self.three()
        for source, last in ((0, 3), (0, 4), (1, 2), (1, 4), (2, 2), (2, 3)):
            for address in (f"10.0.2.{last}", f"fd00:706f:7274::{last}"):
                with self.subTest(f"{source} to {address}"):
                    self.assertTrue(self.reaches(machines[source], address))
        server = machines[2].start([PYTHON, "-I", "-S", "-u", os.path.abspath(services.__file__), "10.0.2.4"], stdout=subprocess.PIPE)
        self.assertEqual(server.stdout.readline(), b"ready\n")
        out = machines[0].python(Links.TRANSFER, "10.0.2.4", 8 << 20, os.path.dirname(services.__file__), timeout=40)
        self.assertEqual(out.split()[:2], ["True", "True"])

    def test_isolated(self):
        """with --isolate machines reach the outside and not one another"""
        _, machines = self.three("--isolate")
        self.assertFalse(self.reaches(machines[0], "10.0.2.3"))
        self.assertFalse(self.reaches(machines[0], "fd00:706f:7274::3"))
        for machine in machines:
            self.assertTrue(self.reaches(machine, GATEWAY4))
            self.assertTrue(self.reaches(machine, SERVER4))

    def test_stolen_mac(self):
        """a machine that sends with another's MAC address, or the gateway's, takes nothing from it"""
        _, (victim, thief, third) = self.three()
        self.assertTrue(self.reaches(third, "10.0.2.2"))
        for mac in (victim.run(["cat", "/sys/class/net/eth0/address"]).out.strip(), "5e:70:6f:72:74:01"):
            thief.ip(f"link set eth0 down")
            thief.ip(f"link set eth0 address {mac}")
            thief.ip(f"link set eth0 up")
            thief.run(["ping", "-q", "-c", "1", "-W", "1", "10.0.2.4"])
            self.assertTrue(self.reaches(third, "10.0.2.2"))
            self.assertTrue(self.reaches(victim, GATEWAY4))
            self.assertTrue(self.reaches(victim, SERVER4))


class Mistakes(Machines):
    def test_usage(self):
        """no link, what is not a link, a TCP address that others could reach, a path that is too long or not there"""
        for arguments, code, word in (
                ([], 2, "--listen"), (["--listen", "x"], 2, "not a link"), (["--listen", "qemu:"], 2, "not a link"), (["--listen", "fd:x"], 2, "not a link"),
                (["--listen", "tcp://1.2.3.4"], 2, "not a link"), (["--listen", "tcp://0.0.0.0:15009"], 125, "loopback"),
                (["--listen", "fd:99"], 125, "descriptor"), (["--listen", "qemu:/no/such/folder/x"], 125, "No such file"),
                (["--listen", "qemu:/" + "x" * 200], 125, "107"), (["--listen", "qemu:/tmp/x", "-p", "1:2:3"], 2, "-p"),
                (["--listen", f"qemu:{self.path('never')}", "-p", "13009:192.0.2.1:80"], 125, "not in the network")):
            with self.subTest(" ".join(arguments)):
                result = self.lab.host.run([*self.command, "serve", *arguments])
                self.assertEqual(result.code, code, str(result))
                self.assertIn(word, result.err)
