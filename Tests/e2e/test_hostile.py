"""Frames that no kernel would send, from a raw socket inside the sandbox: Portolan survives them and goes on serving."""

import os
import random

from lab import SERVER4, SERVER6
from support import EndToEnd, PRELUDE

# Runs inside as root of the sandbox: random bytes, then well-formed frames of many kinds with bytes changed, lengths
# changed, cut or grown. The template frames are rebuilt for each, so checksums are right now and then.
FRAMES = """
import random
seed, count = int(sys.argv[1]), int(sys.argv[2])
dice = random.Random(seed)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("tap0", 0))
gateway = bytes.fromhex(sys.argv[3].replace(":", ""))
own = raw.getsockname()[4]
us4, server4 = socket.inet_aton("10.0.2.2"), socket.inet_aton(sys.argv[4])
us6, server6 = socket.inet_pton(socket.AF_INET6, "fd00:706f:7274::2"), socket.inet_pton(socket.AF_INET6, sys.argv[5])
def total(data):
    if len(data) % 2: data += b"\\0"
    s = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while s >> 16: s = (s & 65535) + (s >> 16)
    return 65535 - s
def ip4(protocol, payload, fragment=0, destination=None):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), dice.randrange(65536), fragment, 64, protocol, 0, us4, destination or server4)
    return b"\\x08\\0" + head[:10] + struct.pack(">H", total(head)) + head[12:] + payload
def ip6(protocol, payload, destination=None):
    return b"\\x86\\xdd" + struct.pack(">IHBB16s16s", 6 << 28, len(payload), protocol, 64, us6, destination or server6) + payload
def pseudo(six, protocol, payload):
    ends = us6 + server6 if six else us4 + server4
    return total(ends + struct.pack(">IHBB", len(payload), 0, 0, protocol)[0:4] + bytes([0, 0, 0, protocol]) + payload)
def tcp(six):
    options = dice.choice([b"", b"\\2\\4\\5\\xb4", b"\\3\\3\\7\\0", b"\\5\\x12" + os.urandom(16) + b"\\1\\1", os.urandom(4 * dice.randrange(11)), b"\\2\\0\\0\\0", b"\\x08\\xff\\1\\1"])
    head = struct.pack(">HHIIBBHHH", dice.choice([1, 40000, 40001, dice.randrange(65536)]), dice.choice([7001, 9, 80]), dice.getrandbits(32), dice.getrandbits(32),
                       (5 + len(options) // 4) << 4, dice.getrandbits(8), dice.randrange(65536), 0, dice.choice([0, 0, 65535])) + options + os.urandom(dice.choice([0, 0, 1, 100, 1400]))
    c = pseudo(six, 6, head)
    return head[:16] + struct.pack(">H", c) + head[18:]
def udp_(six):
    payload = os.urandom(dice.choice([0, 1, 30, 1000]))
    port = dice.choice([53, 67, 547, 7101, 9, 0])
    return struct.pack(">HHHH", dice.choice([68, 546, 0, 5000]), port, dice.choice([8 + len(payload), 8 + len(payload), 0, 7, 65535]), 0) + payload
def icmp(six):
    data = bytes([dice.choice([128, 129, 133, 135, 136, 1, 2, 3] if six else [0, 3, 5, 8, 11, 13]), dice.randrange(4), 0, 0]) + os.urandom(dice.choice([0, 4, 20, 60]))
    c = pseudo(True, 58, data) if six else total(data)
    return data[:2] + struct.pack(">H", c) + data[4:]
def arp():
    return b"\\x08\\6" + struct.pack(">HHBBH", 1, 0x800, dice.choice([6, 6, 0, 255]), dice.choice([4, 4, 16]), dice.randrange(4)) + own + us4 + bytes(6) + os.urandom(4)
def fragment():
    offset, more = dice.randrange(8192), dice.choice([0, 0x2000])
    if dice.random() < 0.5: return ip4(dice.choice([17, 6, 1]), os.urandom(dice.choice([8, 16, 1400, 7])), offset | more)
    return ip6(44, struct.pack(">BBHI", dice.choice([17, 6, 58, 44, 0]), 0, offset << 3 | (more > 0), dice.choice([1, 2, dice.getrandbits(32)])) + os.urandom(dice.choice([0, 8, 1400])))
def extension():
    kind, chain = dice.choice([0, 43, 60]), b""
    for _ in range(dice.randrange(1, 12)): chain += bytes([dice.choice([0, 43, 60, 44, 17, 59]), dice.choice([0, 0, 1, 255])]) + os.urandom(6)
    return ip6(kind, chain)
def question():
    labels = dice.choice([[b"server", b"lab", b"test"], [b"host", b"internal"], [b"\\xff" * 63] * 3, [b""], [os.urandom(dice.randrange(64)) for _ in range(dice.randrange(8))],
                          [dice.choice([b"1", b"255", b"300", b"x"]) for _ in range(4)] + [b"in-addr", b"arpa"],
                          [dice.choice([b"0", b"f", b"g", b"10"]) for _ in range(32)] + [b"ip6", b"arpa"], [b"%x" % dice.randrange(16) for _ in range(32)] + [b"ip6", b"arpa"]])
    name = b"".join(bytes([len(l)]) + l for l in labels) + dice.choice([b"\\0", b"\\0", b"\\0", b"", b"\\xc0\\x0c", b"\\xc0\\xff"])
    text = struct.pack(">HHHHHH", dice.randrange(65536), dice.choice([0x100, 0x100, dice.randrange(65536)]), dice.choice([1, 1, 1, 0, 2, 65535]), dice.choice([0, 0, 9]), 0,
                       dice.choice([0, 1, 65535])) + name + struct.pack(">HH", dice.choice([1, 28, 12, 255, dice.randrange(65536)]), dice.choice([1, 1, 255])) + dice.choice([b"", b"\\0\\0\\x29\\x10\\0\\0\\0\\0\\0\\0\\0", os.urandom(9)])
    return struct.pack(">HHHH", dice.randrange(1024, 65536), 53, 8 + len(text), 0) + text
us = socket.inet_aton("10.0.2.1")
kinds = [lambda: ip4(17, question(), destination=us), lambda: ip4(17, question(), destination=us), lambda: ip4(6, tcp(0)), lambda: ip6(6, tcp(1)), lambda: ip4(17, udp_(0)), lambda: ip6(17, udp_(1)), lambda: ip4(1, icmp(0)), lambda: ip6(58, icmp(1)),
         lambda: ip4(17, udp_(0), destination=socket.inet_aton("10.0.2.1")), lambda: ip6(17, udp_(1), us6[:8] + bytes(7) + b"\\1"), arp, fragment, extension,
         lambda: os.urandom(dice.randrange(2, 1500))]
sent = 0
for number in range(count):
    frame = bytearray(gateway + own + dice.choice(kinds)())
    for _ in range(dice.choice([0, 0, 1, 3])): frame[dice.randrange(12, len(frame))] = dice.randrange(256)
    if dice.random() < 0.15: frame = frame[:dice.randrange(14, len(frame) + 1)]
    if dice.random() < 0.05: frame += os.urandom(dice.randrange(1, 40))
    try:
        raw.send(frame[:1514])
        sent += 1
    except OSError: pass
print(sent)
"""

SERVES = """
for a in sys.argv[1:3]:
    s = tcp(a, 7001); s.sendall(b"still"); u = udp(a, 7101); u.send(b"here")
    print(s.recv(5).decode(), u.recv(4).decode())
print(*[os.system("ping -q -c1 -W3 %s >/dev/null" % a) for a in sys.argv[1:3]])
"""


class Hostile(EndToEnd):
    def flood(self, program, seed, count, *options, timeout=60):
        self.not_the_standin("only Portolan is tried")
        script = 'gateway=$(ip neigh show 10.0.2.1 | sed -n "s/.*lladdr \\([^ ]*\\).*/\\1/p"); python=$1; flood=$2; serves=$3; shift 3; ' \
                 '"$python" -I -S -c "$flood" "$1" "$2" "$gateway" "$3" "$4" || exit 9; "$python" -I -S -c "$serves" "$3" "$4"'
        return self.inside(["sh", "-c", f"ping -q -c1 -W3 10.0.2.1 >/dev/null; {script}", "sh", "/usr/bin/python3", PRELUDE + program, PRELUDE + SERVES,
                            str(seed), str(count), SERVER4, SERVER6], "--map-root", *options, timeout=timeout)

    def test_frames(self):
        """30,000 random and mutated frames: Portolan survives, still serves TCP, UDP and ping, and stays small"""
        seed = int(os.environ.get("PORTOLAN_SEED", random.SystemRandom().randrange(1 << 32)))
        result = self.flood(FRAMES, seed, 30000)
        self.assertEqual(result.code, 0, f"seed {seed} (PORTOLAN_SEED={seed}): {result}")
        lines = result.out.splitlines()
        self.assertGreater(int(lines[0]), 20000, f"seed {seed}: {result}")
        self.assertEqual(lines[1:], ["still here", "still here", "0 0"], f"seed {seed}: {result}")

    def test_syn_flood(self):
        """20,000 SYNs to a black hole fill the tables; connections elsewhere still come through afterwards"""
        program = FRAMES[:FRAMES.index("sent = 0")] + """
from_ports, hole = 0, socket.inet_aton("198.18.2.1")
for number in range(count):
    head = struct.pack(">HHIIBBHHH", 1024 + number % 60000, 80 + number // 60000, number, 0, 5 << 4, 2, 65535, 0, 0)
    c = total(us4 + hole + bytes([0, 6]) + struct.pack(">H", len(head)) + head)
    try: raw.send(gateway + own + ip4(6, head[:16] + struct.pack(">H", c) + head[18:], destination=hole))
    except OSError: pass
print(count)
"""
        result = self.flood(program, 1, 20000)
        self.assertEqual(result.code, 0, str(result))
        self.assertEqual(result.out.splitlines()[1:], ["still here", "still here", "0 0"], str(result))

    def test_udp_flood(self):
        """datagrams from 30,000 ports fill the flow table; the network still serves"""
        program = FRAMES[:FRAMES.index("sent = 0")] + """
for number in range(count):
    try: raw.send(gateway + own + ip4(17, struct.pack(">HHHH", 1024 + number % 60000, 9, 9, 0) + b"x"))
    except OSError: pass
print(count)
"""
        result = self.flood(program, 1, 30000)
        self.assertEqual(result.code, 0, str(result))
        self.assertEqual(result.out.splitlines()[1:], ["still here", "still here", "0 0"], str(result))
