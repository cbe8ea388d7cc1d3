"""UDP: sizes, mapping, ICMP errors."""

import signal

from lab import FAR4, FAR6, SECOND4, SECOND6, SERVER4, SERVER6
from support import EndToEnd, both_families


class Datagrams(EndToEnd):
    def test_sizes(self):
        """datagrams of 1 to 65507 bytes come back whole, IPv4 and IPv6 (fragments both ways)"""
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                out = self.python("""
s = udp(sys.argv[1], 7101, 3)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
bad = []
for size in (1, 2, 100, 1232, 1233, 1400, 1452, 1453, 1472, 1473, 2000, 8192, 9000, 20000, 32768, 60000, 65000, 65507):
    data = os.urandom(size)
    s.send(data)
    try:
        if s.recv(65536) != data: bad.append(size)
    except TimeoutError: bad.append(-size)
print(bad)
""", address, timeout=70)
                self.assertEqual(out, "[]", "sizes that came back changed, or (negative) not at all")

    def test_empty(self):
        """a datagram of no bytes goes there and back"""
        self.assertEqual(self.python("s = udp(sys.argv[1], 7101); s.send(b''); print(s.recv(10))", SERVER4), "b''")

    def test_large_mtu(self):
        """at MTU 65520, 60000 bytes come back whole (the first may be refused: the wire behind has an MTU of 1500)"""
        out = self.python("""
s = udp(sys.argv[1], 7101)
data = os.urandom(60000)
for _ in range(2):
    try:
        s.send(data)
        print(s.recv(65536) == data)
        break
    except OSError as error:
        if error.errno != errno.EMSGSIZE: raise
""", SERVER4, options=["--mtu", "65520"])
        self.assertEqual(out, "True")

    def test_small_path(self):
        """datagrams larger than the far link's MTU of 1280 come back, IPv4 and IPv6"""
        for family, address in both_families(FAR4, FAR6):
            with self.subTest(family):
                out = self.python("""
s = udp(sys.argv[1], 7101, 1)
data = os.urandom(1400)
for _ in range(4):  # the first may be lost to the discovery of the path's MTU
    try:
        s.send(data)
        if s.recv(65536) == data: print("whole"); break
    except (TimeoutError, OSError): pass
""", address)
                self.assertEqual(out, "whole")

    def test_bursts(self):
        """60 datagrams of one size at once and a shorter one arrive as they were sent: whole, cut to the MTU, IPv4 and IPv6"""
        for family, address in both_families(SERVER4, SERVER6):
            for mtu, sizes in ((1500, (2, 64, 1000, 1452, 1472, 1473, 2000)), (1280, (1200, 1252, 1400)), (9000, (1472, 1473))):
                with self.subTest(f"{family}, MTU {mtu}"):
                    out = self.python("""
bad = []
for size in map(int, sys.argv[2:]):
    s = udp(sys.argv[1], 7106)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for _ in range(2):  # the second burst is of the expected size
        s.send(b"60 %d" % size)
        got = sorted(s.recv(4000) for _ in range(61))
        wanted = [n.to_bytes(2, "big") + bytes([n % 251]) * (size - 2) for n in range(60)] + [(60).to_bytes(2, "big")]
        if got != wanted: bad.append(size)
print(bad)
""", address, *sizes, options=["--mtu", str(mtu)])
                    self.assertEqual(out, "[]", "sizes of which something arrived otherwise")

    def test_mapping(self):
        """one sandbox endpoint has one host port, whichever server it talks to (RFC 4787 4.1)"""
        for family, first, second in (("IPv4", SERVER4, SECOND4), ("IPv6", SERVER6, SECOND6)):
            with self.subTest(family):
                out = self.python("""
s = udp(sys.argv[1])
ports = []
for address in sys.argv[1:3]:
    s.sendto(b"who", (address, 7102))
    ports.append(s.recv(100).split()[1])
print(ports[0] == ports[1], *ports)
""", first, second)
                self.assertTrue(out.startswith("True"), out)

    def test_many_ports(self):
        """400 sandbox ports at once each get their own answer"""
        out = self.python("""
sockets = [udp(sys.argv[1], 7101) for _ in range(400)]
for number, s in enumerate(sockets): s.send(b"%d" % number)
print(sum(s.recv(10) == b"%d" % number for number, s in enumerate(sockets)))
""", SERVER4)
        self.assertEqual(out, "400")

    def test_first_datagrams(self):
        """400 datagrams sent before Portolan gets the CPU all arrive: none waits for ARP in the sandbox's kernel, which keeps 256"""
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                process = self.start_python("""
sockets = [udp(sys.argv[1], 7101) for _ in range(400)]
print("ready")
sys.stdin.readline()
for number, s in enumerate(sockets): s.send(b"%d" % number)
print("sent")
try: print(sum(s.recv(10) == b"%d" % number for number, s in enumerate(sockets)))
except TimeoutError: print("an answer is missing")
""", address)
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(signal.SIGSTOP)
                process.stdin.write("go\n")
                process.stdin.flush()
                try:
                    self.assertEqual(process.stdout.readline(), "sent\n")
                finally:
                    process.send_signal(signal.SIGCONT)
                self.assertEqual(process.stdout.readline(), "400\n")

    def test_refused(self):
        """a closed UDP port: ECONNREFUSED on the connected socket inside, IPv4 and IPv6"""
        for address in (SERVER4, SERVER6, FAR4, FAR6):
            with self.subTest(address):
                out = self.python("""
s = udp(sys.argv[1], 9, 3)
s.send(b"x")
print(error_of(lambda: s.recv(1))[0])
""", address)
                self.assertEqual(out, "ECONNREFUSED")

    def test_order(self):
        """2000 datagrams, 50 in flight, all come back once, and nearly all in order (veth itself reorders between CPUs)"""
        out = self.python("""
s = udp(sys.argv[1], 7101)
got = []
for number in range(2000):
    s.send(b"%d" % number)
    if number >= 50: got.append(int(s.recv(10)))
while len(got) < 2000: got.append(int(s.recv(10)))
print(sorted(got) == list(range(2000)), sum(a != b for a, b in enumerate(got)) < 200)
""", SERVER4)
        self.assertEqual(out, "True True")
