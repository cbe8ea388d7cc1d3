"""Links with protocols of their own: VPNKit's socket (with RootlessKit for real), taps, serial lines and vsock through a stand-in."""

import fcntl
import os
import socket
import struct
import subprocess
import time
import uuid

import servers
from lab import PYTHON, SERVER4, SERVER6, until
from machine import IFF_NO_PI, IFF_TAP, TUNSETIFF
from support import PRELUDE, ROOT
from test_machines import Links, Machine, Machines

IFF_TUN, IFF_VNET_HDR = 1, 0x4000
MAC_GATEWAY = bytes.fromhex("5e706f727401")


def read(s, count):
    data = b""
    while len(data) < count:
        piece = s.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


class Vmnet:
    """A client of VPNKit's socket."""

    INIT = b"VMN3T" + struct.pack("<I", 22) + b"0" * 40

    def __init__(self, path, name=None, preferred=None):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(5)
        self.s.connect(path)
        self.s.sendall(self.INIT)
        answer = read(self.s, 49)
        assert answer[:9] == self.INIT[:9], answer
        text = str(name).encode() if name else bytes(36)
        self.s.sendall(struct.pack("<B36s4s", 8 if preferred else 1, text, socket.inet_aton(preferred or "0.0.0.0")[::-1]))
        answer = read(self.s, 258)
        self.refusal = answer[2:2 + answer[1]].decode() if answer[0] == 2 else None
        self.mtu, self.largest = struct.unpack_from("<HH", answer, 1)
        self.mac = answer[5:11]

    def send(self, frame):
        self.s.sendall(struct.pack("<H", len(frame)) + frame)

    def receive(self):
        (length,) = struct.unpack("<H", read(self.s, 2))
        return read(self.s, length)

    def address(self, number=1):
        """What DHCP offers, asked as RootlessKit's parent does: no checksums, no option but the message's type."""
        xid = struct.pack(">I", number << 24)
        bootp = struct.pack(">BBBB4sHH16s16s192s4s", 1, 1, 6, 0, xid, 0, 0x8000, bytes(16), self.mac, bytes(192), bytes.fromhex("63825363"))
        bootp += bytes([53, 1, 1, 255])
        udp = struct.pack(">HHHH", 68, 67, 8 + len(bootp), 0) + bootp
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
        self.send(b"\xff" * 6 + self.mac + b"\x08\x00" + ip + udp)
        while True:
            frame = self.receive()
            if frame[12:14] == b"\x08\x00" and frame[34:38] == b"\x00\x43\x00\x44" and frame[46:50] == xid:
                return socket.inet_ntoa(frame[58:62])

    def is_answered(self, address):
        """Whether the gateway answers ARP."""
        mine = socket.inet_aton(address)
        self.send(b"\xff" * 6 + self.mac + b"\x08\x06" + bytes.fromhex("0001080006040001") + self.mac + mine + bytes(6) + socket.inet_aton("10.0.2.1"))
        try:
            while True:
                frame = self.receive()
                if frame[:6] == self.mac and frame[6:14] == MAC_GATEWAY + b"\x08\x06":
                    return True
        except TimeoutError:
            return False


class VPNKit(Machines):
    def setUp(self):
        super().setUp()
        self.where = self.path("vmnet")
        self.serve(f"vmnet:{self.where}")

    def test_same_uuid(self):
        """one UUID has one MAC address and one address, on whichever connection; the newest is the machine, and the older one comes back after it"""
        name = uuid.uuid4()
        first = Vmnet(self.where, name)
        self.assertEqual((first.mtu, first.largest), (1500, 1550))
        address = first.address()
        other = Vmnet(self.where, uuid.uuid4())
        self.assertNotEqual((other.mac, other.address()), (first.mac, address))
        second = Vmnet(self.where, name)
        self.assertEqual(second.mac, first.mac)
        self.assertEqual(second.address(2), address)
        self.assertTrue(second.is_answered(address))
        second.s.close()
        self.assertTrue(until(lambda: first.is_answered(address), 10))
        first.s.close()
        self.assertEqual(Vmnet(self.where, name).address(3), address)
        self.assertNotEqual(Vmnet(self.where).mac, Vmnet(self.where).mac, "nameless machines are one")

    def test_preferred(self):
        """a preferred address is kept for the machine, and refused when it is another's, the gateway's or of another network"""
        name = uuid.uuid4()
        machine = Vmnet(self.where, name, "10.0.2.77")
        self.assertIsNone(machine.refusal)
        self.assertEqual(machine.address(), "10.0.2.77")
        self.assertIsNone(Vmnet(self.where, name, "10.0.2.77").refusal)
        for address in ("10.0.2.77", "10.0.2.1", "10.0.2.254", "192.168.65.9"):
            self.assertIn(address, Vmnet(self.where, uuid.uuid4(), address).refusal)
        self.assertEqual(Vmnet(self.where, uuid.uuid4()).address(), "10.0.2.2")

    def test_preferred_goes_back(self):
        """machines that come one after another, each with another preferred address, leave the network as it was, with or without a UUID"""
        for name in (lambda: None, uuid.uuid4):
            for number in range(600):
                machine = Vmnet(self.where, name(), f"10.0.2.{2 + number % 250}")
                self.assertIsNone(machine.refusal, number)
                machine.s.close()
        # What is held is held for as long as the connection, and no longer.
        holder = Vmnet(self.where, None, "10.0.2.77")
        self.assertIsNotNone(Vmnet(self.where, None, "10.0.2.77").refusal)
        holder.s.close()
        machine = Vmnet(self.where, None, "10.0.2.77")
        self.assertIsNone(machine.refusal)
        self.assertEqual(machine.address(), "10.0.2.77")
        self.assertEqual(Vmnet(self.where, uuid.uuid4()).address(), "10.0.2.2")

    def test_bad_introductions(self):
        """garbage, an end at any byte and silence within the introduction disturb nobody"""
        machine = Vmnet(self.where, uuid.uuid4())
        address = machine.address()
        whole = Vmnet.INIT + struct.pack("<B36sI", 1, str(uuid.uuid4()).encode(), 0)
        silent = []
        for length in range(len(whole)):
            s = socket.socket(socket.AF_UNIX)
            s.connect(self.where)
            s.sendall(whole[:length])
            silent.append(s)
            if length % 2: s.close()
        for garbage in (b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\x2a" + bytes(42), Vmnet.INIT + b"\x06" + bytes(40), Vmnet.INIT + b"\x01" + b"x" * 40):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(5)
            s.connect(self.where)
            s.sendall(garbage)
            try:
                while s.recv(4096): pass
            except ConnectionResetError: pass
        # A byte at a time is an introduction, too.
        slow = socket.socket(socket.AF_UNIX)
        slow.settimeout(5)
        slow.connect(self.where)
        for byte in Vmnet.INIT: slow.sendall(bytes([byte]))
        read(slow, 49)
        for byte in whole[49:]: slow.sendall(bytes([byte]))
        self.assertEqual(read(slow, 258)[:3], b"\x01\xdc\x05")
        self.assertTrue(machine.is_answered(address))

    def test_silence(self):
        """a machine that never introduces itself is sent away in the end, with a clean end of stream"""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(45)
        s.connect(self.where)
        s.sendall(Vmnet.INIT)
        read(s, 49)
        began = time.monotonic()
        self.assertEqual(s.recv(1), b"")
        self.assertGreater(time.monotonic() - began, 25)

    def test_another_version(self):
        """a machine of another version gets our version and a clean end"""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(self.where)
        s.sendall(b"VMN3T" + struct.pack("<I", 99) + b"0" * 40 + b"more that nobody reads")
        data = b""
        while piece := s.recv(100): data += piece
        self.assertEqual(data[:9], Vmnet.INIT[:9])


class RootlessKit(Machines):
    def test_network(self):
        """rootlesskit --net=vpnkit: address, DNS, a download with checksum and a big upload through scripts/vpnkit-portolan, as an ordinary user

        Debian builds its rootlesskit without that driver ("not supported in this Debian package"), so rootlesskit/build makes one from
        Debian's own sources; PORTOLAN_ROOTLESSKIT may name another.
        """
        self.need("newuidmap")
        self.real_root()
        program = os.environ.get("PORTOLAN_ROOTLESSKIT")
        if not program:
            made = os.path.join(ROOT, ".build", "rootlesskit")
            built = subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "rootlesskit", "build"), made], capture_output=True, text=True)
            if built.returncode != 0:
                self.skipTest("no rootlesskit: " + built.stderr.strip()[-200:])
            program = os.path.join(made, "rootlesskit")
        root, _ = servers.nginx(self.lab), servers.dnsmasq(self.lab)
        for name in ("subuid", "subgid"):
            with open(os.path.join(self.lab.host.etc, name), "w") as file:
                file.write("sailor:200000:65536\n")
        wrapper = self.lab.write("vpnkit-portolan", open(os.path.join(ROOT, "scripts", "vpnkit-portolan")).read(), 0o755)
        log = self.lab.path("rootlesskit", directory=True)
        os.chmod(log, 0o777)
        script = self.lab.write("in-rootlesskit.sh", f"""set -e
ip -4 -o addr show dev tap0 | awk '{{ print "address", $4 }}'
ip route | awk '/^default/ {{ print "gateway", $3 }}'
curl -sS -m 30 http://server.lab.test/big.bin | sha256sum | awk '{{ print "download", $1 }}'
{PYTHON} -I -S - <<'PROGRAM'
{PRELUDE}
sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
import services
s = tcp({SERVER4!r}, 7002, 60)
for chunk in services.stream(8 << 20): s.sendall(chunk)
s.shutdown(socket.SHUT_WR)
print("upload", everything(s).decode().split() == [services.stream_digest(8 << 20), str(8 << 20)])
PROGRAM
""")
        for _ in range(2):
            result = self.lab.host.run(
                [program, "--net=vpnkit", f"--vpnkit-binary={wrapper}", "--copy-up=/etc", f"--state-dir={log}/state-{time.monotonic_ns()}", "sh", script],
                user="sailor", timeout=60, env=self.lab.environment(PORTOLAN=self.command[0], USER="sailor", XDG_RUNTIME_DIR=log))
            self.assertEqual(result.code, 0, str(result))
            said = dict(line.split(" ", 1) for line in result.out.splitlines())
            self.assertEqual(said, {"address": "192.168.65.2/24", "gateway": "192.168.65.1", "upload": "True",
                                    "download": servers.sha256(f"{root}/big.bin")}, str(result))

    def test_options(self):
        """the wrapper refuses what it has no equivalent for, and says so"""
        wrapper = os.path.join(ROOT, "scripts", "vpnkit-portolan")
        for words, said in ((["--ethernet", "/x", "--http", "f"], "--http"), ([], "--ethernet"), (["--ethernet"], "--ethernet"),
                            (["--ethernet", "/x", "--gateway-ip=10.0.0.7"], "10.0.0.7")):
            result = self.lab.host.run([wrapper, *words])
            self.assertEqual(result.code, 2, str(result))
            self.assertIn(said, result.err)


class Taps(Machines):
    OPEN = """
import ctypes, fcntl, os, struct, subprocess, sys
flags, mtu, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
home = os.open("/proc/self/ns/net", os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x40000000): raise OSError(ctypes.get_errno(), "unshare")
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"eth0", flags))
with open("/proc/sys/net/ipv6/conf/all/accept_ra", "w") as file: file.write("0")
if flags & 2:
    with open("/proc/sys/net/ipv6/conf/eth0/accept_ra", "w") as file: file.write("0")
subprocess.run(["ip", "link", "set", "eth0", "mtu", mtu, "up"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
print(holder.pid, flush=True)
if libc.setns(home, 0x40000000): raise OSError(ctypes.get_errno(), "setns")
os.set_inheritable(tap, True)
os.set_inheritable(holder.stdin.fileno(), True)
os.execv(command[0], [word.replace("TAP", str(tap)) for word in command])
"""

    class Inside(Machine):
        """The namespace that the launcher has made."""

        def __init__(self, test, pid):
            self.test, self.lab = test, test.lab
            self.process = type("Holder", (), {"pid": pid})

    def launch(self, flags, *links, mtu=1500):
        process = self.lab.host.start([PYTHON, "-I", "-S", "-c", self.OPEN, str(flags), str(mtu), *self.command, "serve", "--mtu", str(mtu),
                                       "--listen", "fd:TAP", *(word for link in links for word in ("--listen", link))],
                                      stdout=subprocess.PIPE, stderr=self.lab.log())
        self.addCleanup(self.lab.stop, process)
        return process, self.Inside(self, int(process.stdout.readline()))

    def test_transfers(self):
        """a tap opened by a launcher, with and without virtio headers: TCP both ways, UDP and ping, IPv4 and IPv6"""
        for name, flags in (("plain", IFF_TAP | IFF_NO_PI), ("virtio", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)):
            for mtu in (1500, 9000):
                with self.subTest(f"{name} {mtu}"):
                    process, inside = self.launch(flags, mtu=mtu)
                    inside.configure(2, "2")
                    # What fits an MTU of 9000 says "don't fragment", and the path behind takes 1500.
                    Links.everything(self, inside, sizes=(0, 1, 1400, 9000, 60000) if mtu == 1500 else (0, 1, 1400))
                    self.assertEqual(self.lab.stop(process), 0)

    TRANSFER = Links.TRANSFER

    def test_among_machines(self):
        """machines behind sockets and the tap reach one another; what the tap's kernel has not cut is cut for them"""
        for name, flags in (("plain", IFF_TAP | IFF_NO_PI), ("virtio", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)):
            with self.subTest(name):
                link = self.link("qemu")
                process, inside = self.launch(flags, link)
                inside.configure(2, "2")
                until(lambda: os.path.exists(link.partition(":")[2]))
                machine = Machine(self, link, configure=(3, "3"))
                for a, b, addresses in ((inside, machine, ("10.0.2.3", "fd00:706f:7274::3")), (machine, inside, ("10.0.2.2", "fd00:706f:7274::2"))):
                    server = b.start([PYTHON, "-I", "-S", "-u", os.path.abspath(servers.__file__).replace("servers.py", "services.py"), *addresses], stdout=subprocess.PIPE)
                    self.assertEqual(server.stdout.readline(), b"ready\n")
                    for address in addresses:
                        out = a.python(self.TRANSFER, address, 2 << 20, os.path.dirname(servers.__file__), 0, 1400, 9000, timeout=60)
                        self.assertEqual(out.split(), ["True", "True"])
                    self.lab.stop(server)
                machine.stop()
                self.lab.stop(process)

    def test_end(self):
        """the tap's namespace goes: the only link is gone, and so is Portolan; with others it goes on"""
        process, inside = self.launch(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        inside.configure(2, "2")
        self.assertEqual(inside.run(["ping", "-c1", "-W5", "10.0.2.1"]).code, 0)
        inside.ip("link del eth0")
        self.assertEqual(process.wait(5), 0)
        link = self.link("qemu")
        process, inside = self.launch(IFF_TAP | IFF_NO_PI, link)
        inside.ip("link set eth0 down")
        inside.ip("link set eth0 up")
        inside.configure(2, "2")
        self.assertEqual(inside.run(["ping", "-c1", "-W5", "10.0.2.1"]).code, 0)
        inside.ip("link del eth0")
        machine = Machine(self, link, configure=(3, "3"))
        self.assertEqual(machine.run(["ping", "-c1", "-W5", "10.0.2.1"]).code, 0)
        self.assertIsNone(process.poll())

    def test_refused(self):
        """a tun device is refused with a sentence"""
        result = self.lab.host.run([PYTHON, "-I", "-S", "-c", self.OPEN, str(IFF_TUN | IFF_NO_PI), "1500", *self.command, "serve", "--listen", "fd:TAP"])
        self.assertEqual(result.code, 125, str(result))
        self.assertIn("IFF_TAP", result.err)
