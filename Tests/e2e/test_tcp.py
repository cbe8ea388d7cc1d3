"""TCP as the sandbox sees it: connects that fail as they would outside, closing in every way, big and slow transfers."""

import os
import re
import time

import services
from lab import BLACKHOLE4, BLACKHOLE6, FAR4, FAR6, PYTHON, SERVER4, SERVER6, UNREACHABLE4, UNREACHABLE6, rests, until
from support import EndToEnd, PRELUDE, both_families


class Connects(EndToEnd):
    def fails(self, address, port, expected, within):
        out = self.python("print(*error_of(lambda: tcp(sys.argv[1], int(sys.argv[2]), 6)))", address, port)
        error, seconds = out.split()
        self.assertIn(error, expected, out)
        self.assertLess(float(seconds), within, out)
        return float(seconds)

    def test_refused(self):
        """a connect to a closed port is refused at once, near and far, IPv4 and IPv6"""
        for address in (SERVER4, SERVER6, FAR4, FAR6):
            with self.subTest(address):
                self.fails(address, 9, ["ECONNREFUSED"], 1)

    def test_refused_curl(self):
        """curl says `Connection refused` or its exit code 7 for a closed port"""
        result = self.inside(["curl", "-sS", "-m", "5", f"http://{SERVER4}:9/"])
        self.assertEqual(result.code, 7, str(result))

    def test_unreachable(self):
        """a connect to an unreachable network fails as unreachable, not as refused and not by time"""
        for address in (UNREACHABLE4, UNREACHABLE6):
            with self.subTest(address):
                self.fails(address, 80, ["EHOSTUNREACH", "ENETUNREACH"], 5)

    def test_black_hole(self):
        """a connect into a black hole gets no answer: it times out, and no SYN-ACK was made up"""
        for address in (BLACKHOLE4, BLACKHOLE6):
            with self.subTest(address):
                out = self.python("print(*error_of(lambda: tcp(sys.argv[1], 80, 2)))", address)
                self.assertIn(out.split()[0], ("TimeoutError", "ETIMEDOUT"), out)
                self.assertGreater(float(out.split()[1]), 1.9)

    def test_many_at_once(self):
        """500 connections at once: each echoes its own bytes"""
        out = self.python("""
connections = [tcp(sys.argv[1], 7001) for _ in range(500)]
for number, s in enumerate(connections): s.sendall(b"%06d" % number)
print(sum(s.recv(6) == b"%06d" % number for number, s in enumerate(connections)))
""", SERVER4, timeout=40)
        self.assertEqual(out, "500")


class Closing(EndToEnd):
    def test_half_close_by_the_client(self):
        """the client sends, closes its half, and still gets the server's answer"""
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                out = self.python("""
s = tcp(sys.argv[1], 7002)
s.sendall(b"x" * 100000)
s.shutdown(socket.SHUT_WR)
answer = everything(s).decode().split()
print(answer[1], answer[0] == hashlib.sha256(b"x" * 100000).hexdigest())
""", address)
                self.assertEqual(out, "100000 True")

    def test_half_close_by_the_server(self):
        """the server closes its half first; what the client sends afterwards still arrives"""
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                out = self.python("""
s = tcp(sys.argv[1], 7004)
greeting = everything(s).decode().strip()
time.sleep(0.2)
s.sendall(b"after your FIN")
s.shutdown(socket.SHUT_WR)
for _ in range(50):
    last = everything(tcp(sys.argv[1], 7005)).decode()
    if last == "after your FIN": break
    time.sleep(0.05)
print(greeting, last)
""", address)
                self.assertEqual(out, "hello after your FIN")

    def test_reset_by_the_server(self):
        """the server resets: the client gets ECONNRESET, not an end of file"""
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                out = self.python("""
s = tcp(sys.argv[1], 7006)
s.sendall(b"now\\n")
print(error_of(lambda: s.recv(1))[0])
""", address)
                self.assertEqual(out, "ECONNRESET")

    def test_reset_by_the_client(self):
        """the client resets: the server gets ECONNRESET, not an end of file"""
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                out = self.python("""
s = tcp(sys.argv[1], 7007)
s.sendall(b"x")
time.sleep(0.2)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
for _ in range(60):
    last = everything(tcp(sys.argv[1], 7005)).decode()
    if last != "waiting": break
    time.sleep(0.05)
print(last)
""", address)
                self.assertEqual(out, "ConnectionResetError")

    def test_idle(self):
        """a connection that was idle for a while still works"""
        out = self.python("""
s = tcp(sys.argv[1], 7001)
s.sendall(b"a"); s.recv(1)
time.sleep(8)
s.sendall(b"b"); print(s.recv(1))
""", SERVER4)
        self.assertEqual(out, "b'b'")

    def test_sleeps(self):
        """after a run of requests and answers, during which Portolan may look for the next, it sleeps: no CPU time passes"""
        process = self.start_python("""
s = tcp(sys.argv[1], 7001)
for _ in range(2000): s.sendall(b"a"); s.recv(1)
print("quiet")
sys.stdin.read()
""", SERVER4)
        self.assertEqual(process.stdout.readline(), "quiet\n")

        self.assertTrue(rests(process.pid, 0.01), "it goes on using the CPU")

    def test_killed_client(self):
        """when the sandbox ends, the server's side of its connections ends too"""
        process = self.start_python("s = tcp(sys.argv[1], 7007); s.sendall(b'x'); print('connected'); time.sleep(60)", SERVER4)
        self.assertEqual(process.stdout.readline(), "connected\n")
        self.lab.stop(process)
        established = lambda: [line for line in self.lab.server.check(["ss", "-tnH", "state", "established", "sport", "= :7007"]).splitlines()]
        self.assertTrue(until(lambda: not established(), 5), "the server still has the connection")


GIB = 1 << 30


class Transfers(EndToEnd):
    UPLOAD = """
sys.path.insert(0, sys.argv[3])
import services
count = int(sys.argv[2])
s = tcp(sys.argv[1], 7002, 60)
sha = hashlib.sha256()
for chunk in services.stream(count):
    s.sendall(chunk)
    sha.update(chunk)
s.shutdown(socket.SHUT_WR)
answer = everything(s).decode().split()
print(answer == [sha.hexdigest(), str(count)], *answer, sha.hexdigest())
"""
    DOWNLOAD = """
sys.path.insert(0, sys.argv[3])
import services
count = int(sys.argv[2])
s = tcp(sys.argv[1], 7003, 60)
s.sendall(b"%d\\n" % count)
sha = hashlib.sha256()
got = services.read_to_end(s, sha)
wanted = services.stream_digest(count)
print((got, sha.hexdigest()) == (count, wanted), got, sha.hexdigest(), wanted)
"""

    def transfer(self, program, address, count, *options, timeout=60):
        out = self.python(program, address, count, os.path.dirname(services.__file__), options=options, timeout=timeout)
        self.assertTrue(out.startswith("True "), out)

    def test_gibibyte_out(self):
        """1 GiB from the sandbox to the server is byte-identical"""
        self.transfer(self.UPLOAD, SERVER4, GIB)

    def test_gibibyte_in(self):
        """1 GiB from the server to the sandbox is byte-identical"""
        self.transfer(self.DOWNLOAD, SERVER4, GIB)

    def test_ipv6(self):
        """100 MiB each way over IPv6 is byte-identical"""
        self.transfer(self.UPLOAD, SERVER6, 100 << 20)
        self.transfer(self.DOWNLOAD, SERVER6, 100 << 20)

    def test_mtus(self):
        """20 MiB each way at MTU 1280, 9000 and 65520, and at 576 over IPv4, are byte-identical"""
        for mtu, addresses in ((576, [SERVER4]), (1280, [SERVER4, SERVER6]), (9000, [SERVER4, SERVER6]), (65520, [SERVER4, SERVER6])):
            for address in addresses:
                with self.subTest(f"MTU {mtu} {address}"):
                    self.transfer(self.UPLOAD, address, 20 << 20, "--mtu", str(mtu))
                    self.transfer(self.DOWNLOAD, address, 20 << 20, "--mtu", str(mtu))

    def test_path_mtu(self):
        """behind a link of MTU 1280, 20 MiB each way are byte-identical, IPv4 and IPv6"""
        for family, address in both_families(FAR4, FAR6):
            with self.subTest(family):
                self.transfer(self.UPLOAD, address, 20 << 20)
                self.transfer(self.DOWNLOAD, address, 20 << 20)

    # A container in the sandbox, reached through a link whose near side takes 1300 bytes; then runs its arguments in it.
    CONTAINER = """
set -e
unshare -n sleep 120 &
inner=$!
until [ "$(readlink /proc/$inner/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add r mtu 1300 type veth peer name i netns $inner
ip link set r up
ip addr add fd00:1::1/64 dev r nodad
ip route add 10.0.2.50 dev r
ip -6 route add fd00:706f:7274::50 dev r
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
nsenter -t $inner -n sh -ec '
    ip addr add 10.0.2.50/32 dev i
    ip addr add fd00:706f:7274::50/128 dev i nodad
    ip addr add fd00:1::2/64 dev i nodad
    ip link set i mtu 1500 up
    ip route add 10.0.2.2 dev i
    ip route add default via 10.0.2.2
    ip -6 route add default via fd00:1::1 src fd00:706f:7274::50'
nsenter -t $inner -n "$@"
"""

    def test_narrow_path_inside(self):
        """the sandbox routes for a container behind a link of MTU 1300 and says "packet too big": TCP and UDP of IPv6 then fit"""
        self.not_the_standin("the container's addresses are Portolan's")
        program = self.DOWNLOAD + """
u = udp(sys.argv[1], 7105, 1)
for _ in range(3):  # the first is lost to the discovery, where no router may fragment
    u.send(b"1400")
    try: print(len(u.recv(2000)))
    except TimeoutError: print("lost")
"""
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                out = self.succeeds(
                    ["sh", "-c", self.CONTAINER, "sh", PYTHON, "-I", "-S", "-c", PRELUDE + program, address, str(20 << 20),
                     os.path.dirname(services.__file__)], "--map-root", timeout=40).splitlines()
                self.assertTrue(out[0].startswith("True "), out)
                self.assertEqual(out[-1], "1400", out)

    def rss(self, process):
        with open(f"/proc/{process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def test_slow_server(self):
        """a server that does not read: the client is held back, and Portolan's memory stays flat"""
        process = self.start_python("""
s = tcp(sys.argv[1], 7008)
s.setblocking(False)
print("open")
sent, quiet = 0, time.monotonic()
while time.monotonic() - quiet < 1.5 and sent < 1 << 28:
    try:
        sent += s.send(bytes(1 << 16))
        quiet = time.monotonic()
    except BlockingIOError: select.select([], [s], [], 0.2)
print(sent)
sys.stdin.read()
""", SERVER4)
        self.assertEqual(process.stdout.readline(), "open\n")
        before = self.rss(process)
        sent = int(process.stdout.readline())
        self.assertLess(sent, 64 << 20, "the sender was not held back")
        self.assertLess(self.rss(process) - before, 8192, "KiB more than before")

    def test_slow_client(self):
        """a client that does not read: the server is held back, Portolan's memory stays flat, and all arrives in the end"""
        process = self.start_python("""
s = tcp(sys.argv[1], 7003, 30)
s.sendall(b"%d\\n" % (64 << 20))
print("open")
time.sleep(2)
print("waited")
sys.stdin.readline()
got = 0
while piece := s.recv(1 << 18): got += len(piece)
print(got)
""", SERVER4)
        self.assertEqual(process.stdout.readline(), "open\n")
        before = self.rss(process)
        self.assertEqual(process.stdout.readline(), "waited\n")
        self.assertLess(self.rss(process) - before, 8192, "KiB more than before")
        process.stdin.write("go\n")
        process.stdin.flush()
        self.assertEqual(int(process.stdout.readline()), 64 << 20)
