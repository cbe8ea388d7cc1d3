"""Limits and their policies, with real floods and real stalls: memory stays flat, and what is good goes on (docs/limits.md)."""

import os
import re
import time

import services
from lab import PYTHON, SERVER4, until
from support import EndToEnd, PRELUDE

# SYNs from every address of the subnet and many ports to an open port of the server; whoever gets the SYN-ACKs does not exist. 3,000 a
# second, because each makes the server start and end a thread, on the same two cores.
FLOOD = """
gateway, own = bytes.fromhex(sys.argv[1].replace(":", "")), os.urandom(6)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("tap0", 0))
own, server = raw.getsockname()[4], socket.inet_aton(sys.argv[2])
def total(data):
    s = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while s >> 16: s = (s & 65535) + (s >> 16)
    return 65535 - s
def syn(number):
    source = socket.inet_aton("10.0.2.%d" % (3 + number % 200))
    tcp = struct.pack(">HHIIBBHHH", 1024 + number // 200 % 60000, 7001, number, 0, 5 << 4, 2, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack(">H", total(source + server + struct.pack(">HH", 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, number & 65535, 0, 64, 6, 0, source, server)
    return gateway + own + b"\\x08\\0" + ip[:10] + struct.pack(">H", total(ip)) + ip[12:] + tcp
frames = [syn(number) for number in range(20000)]
began, sent = time.monotonic(), 0
while True:
    for frame in frames:
        try: raw.send(frame)
        except OSError: pass
        sent += 1
        while sent > (time.monotonic() - began) * 3000: time.sleep(0.001)
"""

DURING = """
import subprocess
flood = subprocess.Popen([sys.executable, "-I", "-S", "-c", sys.argv[1], sys.argv[2], sys.argv[3]])
def echo():
    s = tcp(sys.argv[3], 7001)
    s.sendall(b"good"); s.shutdown(socket.SHUT_WR)
    return everything(s) == b"good"
began, good, worst = time.monotonic(), 0, 0.0
while time.monotonic() - began < 4:
    start = time.monotonic()
    assert echo()
    good, worst = good + 1, max(worst, time.monotonic() - start)
print(good, worst, flush=True)
sys.stdin.readline()
flood.kill(); flood.wait()
print(echo(), flush=True)
sys.stdin.readline()
"""


class Limits(EndToEnd):
    def rss(self, process):
        """KiB of the process's resident memory."""
        with open(f"/proc/{process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def files(self, process):
        return len(os.listdir(f"/proc/{process.pid}/fd"))

    def test_syn_flood_on_an_open_port(self):
        """3,000 SYNs a second whose answers are never acknowledged: memory and sockets are capped, good connections work meanwhile"""
        self.not_the_standin("only Portolan is tried")
        program = 'ping -q -c1 -W3 10.0.2.1 >/dev/null; gateway=$(ip neigh show 10.0.2.1 | sed -n "s/.*lladdr \\([^ ]*\\).*/\\1/p"); exec "$0" -I -S -u -c "$1" "$2" "$gateway" "$3"'
        process = self.start(["sh", "-c", program, PYTHON, PRELUDE + DURING, PRELUDE + FLOOD, SERVER4], "--map-root", text=True)
        line = process.stdout.readline().split()
        self.assertEqual(len(line), 2, line)
        good, worst = int(line[0]), float(line[1])
        self.assertGreater(good, 20, f"good connections, the slowest took {worst:.2f} s")
        # The flood goes on; by now every table that it can fill is full.
        first = self.rss(process)
        self.assertLess(self.files(process), 2048 + 200)
        seen = [self.rss(process) for _ in range(10) if until(lambda: False, 0.2) is not None]
        self.assertLess(max(seen) - first, 2048, f"KiB: {first}, then {seen}")
        process.stdin.write("stop\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "True\n")

    def test_more_connections_than_the_soft_limit_of_open_files(self):
        """600 connections at once where 'ulimit -Sn' is 256: our limit is raised, the command keeps its own"""
        program = PRELUDE + """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
all = [tcp(sys.argv[1], 7001) for _ in range(600)]
for s in all: s.sendall(b"x")
print(soft, sum(s.recv(1) == b"x" for s in all))
"""
        argv = self.argv([PYTHON, "-I", "-S", "-c", program, SERVER4])
        result = self.lab.host.run(["sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh", *argv], timeout=40)
        self.assertEqual((result.code, result.out), (0, "256 600\n"), str(result))

    READ = 256 << 20

    def test_ten_gibibytes_wait_for_the_server(self):
        """10 GiB for a server that has stopped reading: memory stays flat; 256 MiB of them when it reads again"""
        process = self.start_python("""
sys.path.insert(0, sys.argv[2])
import services
s = tcp(sys.argv[1], 7011, None)
print("open")
sent, said = 0, False
for chunk in services.stream(10 << 30):
    view = memoryview(chunk)
    while view:
        if not said and not select.select([], [s], [], 1)[1]:
            said = True
            print("held", sent)
        try: count = s.send(view)
        except ConnectionError:
            print("ended", sent)
            sys.stdin.read()
            sys.exit(0)
        view, sent = view[count:], sent + count
print("all", sent)
""", SERVER4, os.path.dirname(services.__file__))
        self.assertEqual(process.stdout.readline(), "open\n")
        before = self.rss(process)
        word, sent = process.stdout.readline().split()
        self.assertEqual(word, "held")
        self.assertLess(int(sent), 64 << 20, "the sender was not held back")
        self.stays_flat(process, before)
        answer = self.python("""
s = tcp(sys.argv[1], 7012, 60)
s.sendall(b"%s\\n" % sys.argv[2].encode())
print(everything(s).decode(), end="")
""", SERVER4, self.READ, timeout=60)
        self.assertEqual(answer, f"{self.digest()} {self.READ}")
        word, sent = process.stdout.readline().split()
        self.assertEqual(word, "ended")
        self.assertGreaterEqual(int(sent), self.READ)
        self.assertLess(self.rss(process) - before, 24 << 10, "KiB more than before")

    def test_ten_gibibytes_wait_for_the_client(self):
        """10 GiB for a client that has stopped reading: memory stays flat; 256 MiB of them when it reads again"""
        process = self.start_python("""
s = tcp(sys.argv[1], 7003, 60)
s.sendall(b"%d\\n" % (10 << 30))
print("open")
sys.stdin.readline()
digest, got = hashlib.sha256(), 0
while got < int(sys.argv[2]):
    piece = s.recv(min(1 << 18, int(sys.argv[2]) - got))
    digest.update(piece)
    got += len(piece)
print(digest.hexdigest(), got)
sys.stdin.readline()
""", SERVER4, self.READ)
        self.assertEqual(process.stdout.readline(), "open\n")
        before = self.rss(process)
        # The server's kernel holds its application back as well: nothing moves any more.
        self.stays_flat(process, before)
        process.stdin.write("go\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), f"{self.digest()} {self.READ}\n")
        self.assertLess(self.rss(process) - before, 24 << 10, "KiB more than before")

    def stays_flat(self, process, before):
        """Watched for 3 s: at most 8 MiB more than before, and no growth at the end."""
        end, seen = time.monotonic() + 3, []
        while time.monotonic() < end:
            until(lambda: False, 0.2)
            seen.append(self.rss(process))
        self.assertLess(max(seen) - before, 8192, f"KiB: {before}, then {seen}")
        self.assertLess(seen[-1] - seen[len(seen) // 2], 256, f"KiB: {before}, then {seen}")

    def digest(self):
        import hashlib

        sha, left = hashlib.sha256(), self.READ
        for chunk in services.stream(10 << 30):
            piece = memoryview(chunk)[:left]
            sha.update(piece)
            left -= len(piece)
            if left == 0:
                return sha.hexdigest()
