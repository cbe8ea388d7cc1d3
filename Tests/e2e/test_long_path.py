"""A long fat path: 100 ms of round trip at 1 Gbit/s hold 12.5 MB, and a stream through Portolan has to fill them as the kernel's own does.

delay.c is the path. The kernel's windows are raised in the lab's namespaces, so that what limits is the path, congestion control or
Portolan; every stream through Portolan is compared with one of the kernel alone over the same path right before.
"""

import os
import subprocess
import time

from lab import PYTHON
from support import EndToEnd, PRELUDE

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delay.c")
NEAR, FAR = "192.0.2.1", "192.0.2.2"
ROUND_TRIP, MEGABITS = 0.1, 1000
PRODUCT = int(ROUND_TRIP * MEGABITS * 1e6 / 8)  # bandwidth by delay
# A stream is measured from its START to its END, both in seconds; slow start takes 1 to 2.
START, END = 3, 6

STREAM = PRELUDE + f"""
def sends(s):
    try:
        while True: s.sendall(bytes(1 << 20))
    except OSError: pass
def receives(s):
    began, buffer, count = time.monotonic(), bytearray(1 << 20), 0
    while time.monotonic() - began < {END}:
        got = s.recv_into(buffer)
        if got == 0: break
        if time.monotonic() - began >= {START}: count += got
    print(round(count * 8e-6 / ({END} - {START})), flush=True)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""

SERVER = STREAM + """
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
s, _ = listener.accept()
s.settimeout(20)
{"out": receives, "in": sends}[sys.argv[2]](s)
"""

CLIENT = STREAM + """
{"out": sends, "in": receives}[sys.argv[3]](tcp(sys.argv[1], int(sys.argv[2])))
"""


class LongPath(EndToEnd):
    def setUp(self):
        self.not_the_standin("the comparison is with the kernel")
        self.real_root()
        self.need("gcc", "sysctl")
        program = self.lab.path("delay")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", program, SOURCE], check=True)
        ends = [word for host, name, _ in self.ends() for word in (f"/proc/{host.pid}/ns/net", name)]
        line = self.lab.start([program, str(ROUND_TRIP * 500), str(MEGABITS), str(PRODUCT), *ends], stdout=subprocess.PIPE,
                              stderr=self.lab.log())
        self.addCleanup(self.lab.stop, line)
        self.assertEqual(line.stdout.readline(), b"ready\n")
        for host, name, address in self.ends():
            host.ip(f"addr add {address}/24 dev {name}\nlink set {name} up")
            for setting in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
                before = host.check(["sysctl", "-n", setting]).strip()
                self.addCleanup(host.check, ["sysctl", "-qw", f"{setting}={before}"])
                host.check(["sysctl", "-qw", f"{setting}=4096 131072 67108864"])

        self.lab.host.check(["bash", "-c", f"! true <>/dev/tcp/{FAR}/9"])  # the first waits for ARP as well
        began = time.monotonic()
        self.lab.host.check(["bash", "-c", f"! true <>/dev/tcp/{FAR}/9"])
        self.assertGreater(time.monotonic() - began, ROUND_TRIP)

    def ends(self):
        return (self.lab.host, "long-n", NEAR), (self.lab.server, "long-f", FAR)

    def stream(self, direction, *options, sandboxed):
        """One stream `out` or `in`; returns the Mbit/s that its receiver got once it was under way."""
        server = self.lab.server.start([PYTHON, "-I", "-S", "-c", SERVER, FAR, direction], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.lab.stop, server)
        command = [PYTHON, "-I", "-S", "-c", CLIENT, FAR, server.stdout.readline().strip(), direction]
        result = self.inside(command, timeout=30) if sandboxed else self.lab.host.run(command, timeout=30)
        self.assertEqual(result.code, 0, str(result))
        said = server.stdout.readline() if direction == "out" else result.out
        self.lab.stop(server)
        return int(said)

    def fills(self, control):
        with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as file:
            if control not in file.read().split():
                self.skipTest(f"this kernel has no {control}")
        for host, name, address in self.ends():
            # By route, since a namespace's default may only be what the machine allows to all.
            host.ip(f"route replace 192.0.2.0/24 dev {name} src {address} congctl {control}")
        for direction in ("out", "in"):
            with self.subTest(direction):
                alone = self.stream(direction, sandboxed=False)
                # Else the path is not what it is said to be, and the comparison would mean nothing.
                self.assertTrue(0.7 * MEGABITS < alone < 1.05 * MEGABITS, f"the kernel alone: {alone} Mbit/s")
                through = self.stream(direction, sandboxed=True)
                print(f"        {control} {direction}: {through} Mbit/s, the kernel alone {alone}", flush=True)
                self.assertGreater(through, 0.8 * alone)

    def test_bbr(self):
        """100 ms at 1 Gbit/s with BBR: a stream each way gets four fifths of what the kernel alone gets"""
        self.fills("bbr")

    def test_cubic(self):
        """100 ms at 1 Gbit/s with CUBIC: a stream each way gets four fifths of what the kernel alone gets"""
        self.fills("cubic")
