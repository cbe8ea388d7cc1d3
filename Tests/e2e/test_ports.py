"""Ports of the host that are served from inside (`-p`): who can reach them, what a client meets, what the server sees."""

import os
import re
import signal
import socket
import subprocess

import servers
import services
from lab import HOST4, HOST6, PYTHON, SECOND4, SERVER4, SERVER6, until
from support import ALIAS4, ALIAS6, EndToEnd, GUEST4, GUEST6, PRELUDE

SERVICES = os.path.abspath(services.__file__)
BASE = 10_000  # host port of a service: its own and this


class Ports(EndToEnd):
    def setUp(self):
        self.not_the_standin("the stand-in forwards ports by an API of its own")

    def serve(self, *options, publish=(f"{BASE + 7001}-{BASE + 7010}:7001-7010",), addresses=(GUEST4, GUEST6)):
        """A sandbox that runs services.py on its own addresses, behind `-p`."""
        ports = [word for text in publish for word in ("-p", text)]
        process = self.start([PYTHON, "-I", "-S", "-u", SERVICES, *addresses], *ports, *options)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    def client(self, host, program, *arguments, timeout=20):
        """Runs a Python program on one of the lab's hosts; returns what it printed."""
        words = [PYTHON, "-I", "-S", "-c", PRELUDE + program, *map(str, arguments)]
        result = host.run(words, timeout=timeout)
        self.assertEqual(result.code, 0, str(result))
        return result.out.rstrip("\n")

    def places(self):
        """(host to be the client, address to connect to, whom the server sees)."""
        lab = self.lab
        return [(lab.server, HOST4, SERVER4), (lab.server, HOST6, SERVER6), (lab.host, "127.0.0.1", ALIAS4),
                (lab.host, "::1", ALIAS6), (lab.host, HOST4, HOST4), (lab.host, HOST6, HOST6)]


class TCP(Ports):
    def test_who(self):
        """a server inside is reached from another host, from the host and from its loopback; it sees the client's own address and port"""
        self.serve()
        for host, address, seen in self.places():
            with self.subTest(f"{host.name} to {address}"):
                out = self.client(host, """
s = tcp(sys.argv[1], int(sys.argv[2]))
print(everything(s).decode().split() == [sys.argv[3], str(s.getsockname()[1])])
""", address, BASE + 7010, seen)
                self.assertEqual(out, "True")

    def test_other_source(self):
        """a client's second address is seen as such"""
        self.serve()
        out = self.client(self.lab.server, """
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10, (sys.argv[3], 0))
print(everything(s).decode().split()[0])
""", HOST4, BASE + 7010, SECOND4)
        self.assertEqual(out, SECOND4)

    def test_like_clients(self):
        """clients whom the server cannot tell apart by their address (127.0.0.x, one port) are served at the same time"""
        self.serve()
        out = self.client(self.lab.host, """
connections = []
for last in range(1, 9):
    s = socket.socket()
    s.bind((f"127.0.0.{last}", 33333))
    s.settimeout(10)
    s.connect(("127.0.0.1", int(sys.argv[1])))
    connections.append(s)
for number, s in enumerate(connections): s.sendall(b"%d" % number)
print([s.recv(9) for s in connections] == [b"%d" % number for number in range(8)])
""", BASE + 7001)
        self.assertEqual(out, "True")

    def test_one_address(self):
        """-p with an address listens there alone, IPv4 and IPv6"""
        self.serve(publish=(f"127.0.0.1:{BASE + 7010}:7010", f"[::1]:{BASE + 7010}:7010", f"{HOST4}:{BASE + 7001}:7001"))
        attempt = "print(error_of(lambda: tcp(sys.argv[1], int(sys.argv[2]), 5))[0])"
        for host, address, port, expected in (
                (self.lab.host, "127.0.0.1", 7010, "none"), (self.lab.host, "::1", 7010, "none"),
                (self.lab.server, HOST4, 7010, "ECONNREFUSED"), (self.lab.server, HOST6, 7010, "ECONNREFUSED"),
                (self.lab.server, HOST4, 7001, "none"), (self.lab.host, "127.0.0.1", 7001, "ECONNREFUSED"),
                (self.lab.server, HOST6, 7001, "ECONNREFUSED")):
            with self.subTest(f"{address} {port}"):
                self.assertEqual(self.client(host, attempt, address, BASE + port), expected)

    def test_refused(self):
        """no server inside, or one on the sandbox's loopback only: the client is reset at once"""
        self.serve(publish=(f"{BASE + 9}:9", f"{BASE + 7001}:7001"), addresses=("127.0.0.1", "::1"))
        for host, address, _ in self.places():
            for port in (9, 7001):
                with self.subTest(f"{address} {port}"):
                    out = self.client(host, """
# The reset may come while the client is still in its connect.
print(*error_of(lambda: tcp(sys.argv[1], int(sys.argv[2])).recv(1)))
""", address, BASE + port).split()
                    self.assertEqual(out[0], "ECONNRESET")
                    self.assertLess(float(out[1]), 1)

    def test_half_close(self):
        """the client closes its half and gets the answer; the server closes its half first and still gets the client's bytes"""
        self.serve()
        for host, address, _ in self.places()[:4]:
            with self.subTest(address):
                out = self.client(host, """
address, base = sys.argv[1], int(sys.argv[2])
s = tcp(address, base + 7002)
s.sendall(b"x" * 100000)
s.shutdown(socket.SHUT_WR)
print(everything(s).decode().split() == [hashlib.sha256(b"x" * 100000).hexdigest(), "100000"])
s = tcp(address, base + 7004)
greeting = everything(s)
s.sendall(b"after your FIN")
s.shutdown(socket.SHUT_WR)
for _ in range(100):
    last = everything(tcp(address, base + 7005))
    if last == b"after your FIN": break
    time.sleep(0.05)
print(greeting, last)
""", address, BASE).splitlines()
                self.assertEqual(out, ["True", "b'hello\\n' b'after your FIN'"])

    def test_bytes_before_the_answer(self):
        """a client that sends and closes at once, before the server inside has accepted, loses nothing"""
        self.serve()
        out = self.client(self.lab.server, """
for number in range(50):
    s = tcp(sys.argv[1], int(sys.argv[2]) + 7002)
    s.sendall(b"y" * number)
    s.shutdown(socket.SHUT_WR)
    if everything(s).decode().split()[1] != str(number): print("lost", number)
""", HOST4, BASE)
        self.assertEqual(out, "")

    def test_resets(self):
        """a reset passes in both directions"""
        self.serve()
        for host, address, _ in self.places()[:4]:
            with self.subTest(address):
                out = self.client(host, """
address, base = sys.argv[1], int(sys.argv[2])
s = tcp(address, base + 7006)
s.sendall(b"now\\n")
print(error_of(lambda: s.recv(1))[0])
s = tcp(address, base + 7007)
s.sendall(b"x")
for _ in range(100):
    if everything(tcp(address, base + 7005)) == b"waiting": break
    time.sleep(0.02)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
for _ in range(100):
    last = everything(tcp(address, base + 7005)).decode()
    if last != "waiting": break
    time.sleep(0.05)
print(last)
""", address, BASE).split()
                self.assertEqual(out, ["ECONNRESET", "ConnectionResetError"])

    def test_transfers(self):
        """64 MiB each way through a forwarded port are byte-identical, IPv4 and IPv6, MTU 1500 and 65520"""
        for options in ([], ["--mtu", "65520"]):
            process = self.serve(*options)
            for host, address, _ in self.places()[:3]:
                with self.subTest(f"{address} {options}"):
                    out = self.client(host, """
sys.path.insert(0, sys.argv[3])
import services
address, base, count = sys.argv[1], int(sys.argv[2]), 64 << 20
wanted = services.stream_digest(count)
s = tcp(address, base + 7002, 60)
for chunk in services.stream(count): s.sendall(chunk)
s.shutdown(socket.SHUT_WR)
print(everything(s).decode().split() == [wanted, str(count)])
s = tcp(address, base + 7003, 60)
s.sendall(b"%d\\n" % count)
sha = hashlib.sha256()
print((services.read_to_end(s, sha), sha.hexdigest()) == (count, wanted))
""", address, BASE, os.path.dirname(SERVICES), timeout=60)
                    self.assertEqual(out.split(), ["True", "True"])
            self.lab.stop(process)

    def test_many_at_once(self):
        """500 connections at once and 2000 one after the other, each with its own bytes"""
        self.serve()
        out = self.client(self.lab.server, """
address, port = sys.argv[1], int(sys.argv[2])
connections = [tcp(address, port) for _ in range(500)]
for number, s in enumerate(connections): s.sendall(b"%06d" % number)
print(sum(s.recv(6) == b"%06d" % number for number, s in enumerate(connections)))
good = 0
for number in range(2000):
    with tcp(address, port) as s:
        s.sendall(b"%06d" % number)
        good += s.recv(6) == b"%06d" % number
print(good)
""", HOST4, BASE + 7001, timeout=60)
        self.assertEqual(out.split(), ["500", "2000"])

    def test_out_of_descriptors(self):
        """with no descriptor left clients are reset, Portolan neither ends nor spins, and serves again when there are some"""
        process = self.serve(publish=(f"{BASE + 7001}:7001",))
        # Portolan's own limit; the server inside keeps its own.
        self.lab.host.check(["prlimit", "--pid", str(process.pid), "--nofile=64:64"])
        out = self.client(self.lab.server, """
address, port = sys.argv[1], int(sys.argv[2])
def answered(s):
    try:
        s.sendall(b"a")
        return s.recv(1) == b"a"
    except ConnectionResetError: return False
connections = []
for _ in range(100):
    s = socket.socket()
    try: s.connect((address, port))
    except ConnectionResetError: continue
    connections.append(s)
good = sum(map(answered, connections))
print(10 < good < 64, good)
for s in connections: s.close()
for _ in range(100):
    try:
        if answered(tcp(address, port)): break
    except ConnectionResetError: pass
    time.sleep(0.05)
else: print("never again")
""", HOST4, BASE + 7001, timeout=40)
        self.assertEqual(out.split()[0], "True", out)
        self.assertEqual(len(out.split()), 2, out)

    def test_nginx(self):
        """nginx inside, curl outside: 64 MiB with its checksum, and 20 requests on one connection"""
        self.need("nginx", "curl")
        root = self.lab.path("inside-www", directory=True)
        big = self.lab.write("inside-www/big.bin", os.urandom(1 << 20) * 64)
        self.lab.write("inside-www/hello.txt", "hello from inside\n")
        scratch = self.lab.path("inside-nginx", directory=True)
        os.chmod(scratch, 0o777)
        temporary = "".join(f"{kind}_temp_path {scratch}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.lab.write("inside-nginx.conf", f"""
user root root; daemon off; master_process off; pid {scratch}/pid; error_log {scratch}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; {temporary} server {{ listen 8080; listen [::]:8080; root {root}; }} }}
""")
        self.start([servers.program("nginx"), "-e", f"{scratch}/error.log", "-c", config], "-p", f"{BASE}:8080")
        wanted = servers.sha256(big)
        for host, address in ((self.lab.server, HOST4), (self.lab.server, f"[{HOST6}]"), (self.lab.host, "127.0.0.1"), (self.lab.host, "[::1]")):
            with self.subTest(address):
                url = f"http://{address}:{BASE}"
                self.assertTrue(until(lambda: host.run(["curl", "-s", "-m", "2", f"{url}/hello.txt"]).out == "hello from inside\n", 10))
                copy = self.lab.path("copy.bin")
                result = host.run(["curl", "-sS", "-m", "30", "-o", copy, f"{url}/big.bin"], timeout=40)
                self.assertEqual(result.code, 0, str(result))
                self.assertEqual(servers.sha256(copy), wanted)
                result = host.run(["curl", "-sS", "-m", "10", *[f"{url}/hello.txt"] * 20, "-w", "%{num_connects} "])
                self.assertEqual(result.out.count("hello from inside"), 20, str(result))
                self.assertEqual(sum(map(int, re.findall(r"\b(\d+) ", result.out))), 1, str(result))

    def test_iperf3(self):
        """an iperf3 server inside, TCP in both directions"""
        self.need("iperf3")
        self.start([servers.program("iperf3"), "-s", "-p", "5201"], "-p", f"{BASE + 5201}:5201")
        for options in ([], ["-R"], ["-P", "4"]):
            with self.subTest(options):
                client = ["iperf3", "-c", HOST4, "-p", str(BASE + 5201), "-t", "1", *options]
                self.assertTrue(until(lambda: self.lab.server.run(client).code == 0, 10))

    def test_attach(self):
        """attach takes -p as well"""
        holder = self.lab.host.start(["unshare", "-n", PYTHON, "-I", "-S", "-u", "-c", PRELUDE + """
while True:
    try: s = socket.create_server(("10.0.2.2", 80)); break
    except OSError: time.sleep(0.05)
print("up")
while True:
    c, peer = s.accept()
    c.sendall(peer[0].encode())
    c.close()
"""], stdout=subprocess.PIPE, stderr=self.lab.log())
        self.addCleanup(self.lab.stop, holder)
        net = lambda pid: os.readlink(f"/proc/{pid}/ns/net")
        self.assertTrue(until(lambda: net(holder.pid) != net(self.lab.host.pid), 5))
        ready, signal_fd = os.pipe()
        attached = self.lab.host.start([*self.command, "attach", "-p", f"{BASE}:80", "--ready-fd", str(signal_fd), str(holder.pid)],
                                       pass_fds=[signal_fd])
        self.addCleanup(self.lab.stop, attached)
        os.close(signal_fd)
        self.assertEqual(os.read(ready, 1), b"1")
        os.close(ready)
        self.assertEqual(holder.stdout.readline(), b"up\n")
        self.assertEqual(self.client(self.lab.server, "print(everything(tcp(sys.argv[1], int(sys.argv[2]))).decode())", HOST4, BASE), SERVER4)


class UDP(Ports):
    PUBLISH = (f"{BASE + 7101}-{BASE + 7106}:7101-7106/udp",)

    def test_who(self):
        """a UDP server inside answers from the address that the client asked, and sees the client's own"""
        self.serve(publish=self.PUBLISH)
        for host, address, seen in [*self.places(), (self.lab.host, "127.0.0.77", ALIAS4)]:
            with self.subTest(f"{host.name} to {address}"):
                # Connected sockets take answers from the address they asked only.
                out = self.client(host, """
s = udp(sys.argv[1], int(sys.argv[2]))
for _ in range(2):
    s.send(b"?")
    print(s.recv(100).decode().split() == [sys.argv[3], str(s.getsockname()[1])])
""", address, BASE + 7102, seen)
                self.assertEqual(out.split(), ["True", "True"])

    def test_like_clients(self):
        """clients whom the server cannot tell apart get their own answers"""
        self.serve(publish=self.PUBLISH)
        out = self.client(self.lab.host, """
sockets = []
for last in range(1, 9):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((f"127.0.0.{last}", 33333))
    s.settimeout(5)
    s.connect(("127.0.0.1", int(sys.argv[1])))
    sockets.append(s)
for number, s in enumerate(sockets): s.send(b"%d" % number)
print([s.recv(9) for s in sockets] == [b"%d" % number for number in range(8)])
""", BASE + 7101)
        self.assertEqual(out, "True")

    def test_sizes(self):
        """datagrams of 0 to 65,507 bytes pass both ways, IPv4 and IPv6"""
        self.serve(publish=self.PUBLISH)
        for host, address, _ in self.places()[:4]:
            with self.subTest(address):
                out = self.client(host, """
s = udp(sys.argv[1], int(sys.argv[2]))
for size in (0, 1, 1472, 1473, 9000, 60000, 65507):
    data = os.urandom(size)
    s.send(data)
    if s.recv(70000) != data: print("not the same", size)
""", address, BASE + 7101)
                self.assertEqual(out, "")

    def test_bursts(self):
        """a burst of 60 datagrams from the server inside arrives whole and in order of its numbers"""
        self.serve(publish=self.PUBLISH)
        for address in (HOST4, HOST6):
            with self.subTest(address):
                out = self.client(self.lab.server, """
s = udp(sys.argv[1], int(sys.argv[2]))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.send(b"60 1200")
got = [s.recv(2000) for _ in range(61)]
print(sorted(int.from_bytes(g[:2], "big") for g in got) == list(range(61)), sorted(map(len, got)) == [2] + [1200] * 60)
""", address, BASE + 7106)
                self.assertEqual(out, "True True")

    def test_many_clients(self):
        """1000 clients, each with a socket of its own, get their own answers"""
        self.serve(publish=self.PUBLISH)
        out = self.client(self.lab.server, """
good = 0
for start in range(0, 1000, 50):
    sockets = [udp(sys.argv[1], int(sys.argv[2])) for _ in range(50)]
    for number, s in enumerate(sockets): s.send(b"%d" % (start + number))
    good += sum(s.recv(100) == b"%d" % (start + number) for number, s in enumerate(sockets))
print(good)
""", HOST4, BASE + 7101, timeout=40)
        self.assertEqual(out, "1000")

    def test_server_asks_others(self):
        """a server inside that asks others from the very port it serves (a forwarder) gets their answers"""
        program = """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5300))
print("up")
waiting = {}
while True:
    data, peer = s.recvfrom(2000)
    if peer == (sys.argv[1], 7101): s.sendto(data, waiting.pop(data))
    else:
        waiting[data] = peer
        s.sendto(data, (sys.argv[1], 7101))
"""
        process = self.start_python(program, SERVER4, options=("-p", f"{BASE}:5300/udp"))
        self.assertEqual(process.stdout.readline(), "up\n")
        for host, address, _ in self.places()[::2][:2]:
            with self.subTest(address):
                out = self.client(host, "s = udp(sys.argv[1], int(sys.argv[2])); s.send(b'via'); print(s.recv(10))", address, BASE)
                self.assertEqual(out, "b'via'")

    def test_client_gone(self):
        """a server that answers a client who is gone learns so (ECONNREFUSED on a connected socket)"""
        process = self.start_python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5300))
print("up")
data, peer = s.recvfrom(2000)
s.connect(peer)
s.settimeout(5)
time.sleep(0.3)
s.send(b"x")
print(error_of(lambda: s.recv(10))[0])
""", options=("-p", f"{BASE}:5300/udp"))
        self.assertEqual(process.stdout.readline(), "up\n")
        self.client(self.lab.server, "s = udp(sys.argv[1], int(sys.argv[2])); s.send(b'only this'); s.close()", HOST4, BASE)
        self.assertEqual(process.stdout.readline(), "ECONNREFUSED\n")

    def test_with_tcp(self):
        """one port number for both, as DNS has it: -p 53:53/udp -p 53:53"""
        self.serve(publish=(f"{BASE}:7101/udp", f"{BASE}:7001/tcp"))
        out = self.client(self.lab.server, """
u = udp(sys.argv[1], int(sys.argv[2])); u.send(b"udp"); print(u.recv(9))
t = tcp(sys.argv[1], int(sys.argv[2])); t.sendall(b"tcp"); print(t.recv(9))
""", HOST4, BASE)
        self.assertEqual(out.split(), ["b'udp'", "b'tcp'"])


class Mistakes(Ports):
    def refused(self, text, *words, code=125, user=None):
        marker = self.lab.path(f"started-{os.getpid()}")
        result = self.inside(["touch", marker], "-p", text, user=user)
        self.assertEqual(result.code, code, str(result))
        self.assertFalse(os.path.exists(marker), "the command was started all the same")
        for word in words:
            self.assertIn(word, result.err)
        if code == 125:
            self.assertEqual(len(result.err.strip().splitlines()), 1, str(result))

    def test_in_use(self):
        """a port that is in use is one sentence that names it, exit status 125, and the command does not start"""
        program = "s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family(sys.argv[1])); print('up', flush=True); time.sleep(60)"
        for address, port in (("127.0.0.1", 12001), ("::1", 12002)):
            holder = self.lab.host.start([PYTHON, "-I", "-S", "-c", PRELUDE + program, address, str(port)], stdout=subprocess.PIPE)
            self.addCleanup(self.lab.stop, holder)
            self.assertEqual(holder.stdout.readline(), b"up\n")
        self.refused("127.0.0.1:12001:80", "127.0.0.1:12001/tcp is in use")
        self.refused("12001:80", "0.0.0.0:12001/tcp is in use")
        self.refused("[::1]:12002:80", "[::1]:12002/tcp is in use")
        self.refused("12002:80", "[::]:12002/tcp is in use")
        # TCP and UDP are apart.
        self.assertEqual(self.inside(["true"], "-p", "12001:80/udp").code, 0)
        with_udp = self.lab.host.start([PYTHON, "-I", "-S", "-c", PRELUDE + "s = udp(); s.bind(('', 12004)); print('up', flush=True); time.sleep(60)"],
                                       stdout=subprocess.PIPE)
        self.addCleanup(self.lab.stop, with_udp)
        self.assertEqual(with_udp.stdout.readline(), b"up\n")
        self.refused("12004:80/udp", "0.0.0.0:12004/udp is in use")
        self.refused("11999-12001:80-82", "0.0.0.0:12001/tcp is in use")

    def test_not_to_be_had(self):
        """a port below 1024 without the right, an address that the host does not have, a family that the sandbox does not have"""
        self.real_root()
        self.refused("127.0.0.1:81:80", "port 81", "ip_unprivileged_port_start", user="sailor")
        self.refused("192.0.2.9:12003:80", "192.0.2.9")
        result = self.inside(["true"], "--no-ipv6", "-p", "[::1]:12003:80")
        self.assertEqual(result.code, 125, str(result))
        self.assertIn("no IPv6", result.err)

    def test_usage(self):
        """what is not a port is a usage error that shows what one looks like"""
        for text in ("", "x", "0:80", "80:0", "65536", "1:2:3:4", "80/sctp", "nohost:80:80", "1.2.3:80:80", "80-70:80-70", "80-82:80-81", "[::1]80:80",
                     "[::1]", "::1:80:80", "80:", ":80", "8 0:80", "-1:80", "80:80/"):
            with self.subTest(text):
                self.refused(text, "-p", code=2)

    def test_nothing_left(self):
        """the port is free again when the sandbox has ended, even by SIGKILL, and TIME-WAITs are no hindrance"""
        for _ in range(2):
            process = self.serve(publish=(f"{BASE + 7001}:7001",))
            self.client(self.lab.server, "s = tcp(sys.argv[1], int(sys.argv[2])); s.sendall(b'a'); s.recv(1); s.close()", HOST4, BASE + 7001)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(5)
        self.assertTrue(until(lambda: not self.lab.host.listening(BASE + 7001), 5))
