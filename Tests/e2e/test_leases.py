"""Addresses of machines: leases, what is told with them, names, and machines that try to take another's address."""

import os
import re
import subprocess
import time

from lab import HOST4, PYTHON, SERVER4, until
from support import GATEWAY4, GATEWAY6
from test_machines import Machine, Machines

NET6 = "fd00:706f:7274::"


def mac(name):
    """The MAC address of a machine by its name (machine.py)."""
    return "52:54:00:00:00:%02x" % (sum(name.encode()) & 0xff)


class Addresses(Machines):
    def begin(self, *options, count=1):
        """A network and its first machines, a, b, ..."""
        link = self.link("qemu")
        log = open(self.lab.path(f"leases-{os.getpid()}.log"), "w+")
        self.addCleanup(log.close)
        process = self.serve(link, options=options, stdout=log)
        return process, [Machine(self, link, "abcdef"[i]) for i in range(count)], lambda: open(log.name).read()

    def lease(self, machine, name="", ask=(), request=None):
        """A lease by udhcpc: what it tells its script, by name."""
        self.need("udhcpc")
        script = self.lab.write("udhcpc-all.sh", """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev eth0 scope global
ip addr add "$ip/$mask" dev eth0
ip route add default via "$router"
for name in ip mask router dns mtu domain search hostname ntpsrv staticroutes lease siaddr boot_file; do
    eval "echo $name=\\"\\$$name\\""
done
""", mode=0o755)
        command = ["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", script]
        for option in ask:
            command += ["-O", option]
        if name:
            command += ["-x", f"hostname:{name}"]
        if request:
            command += ["-r", request]
        result = machine.run(command)
        self.assertEqual(result.code, 0, str(result))
        return dict(line.split("=", 1) for line in result.out.splitlines() if "=" in line)


    def trace(self, process, log, *expressions):
        """strace of all threads that a process has or will have; the log is whole when the process has gone."""
        self.need("strace")
        words = [word for expression in expressions for word in ("-e", expression)]
        tracer = self.lab.host.start(["strace", "-f", "-y", *words, "-o", log, "-p", str(process.pid)])
        self.addCleanup(self.lab.stop, tracer)
        status = f"/proc/{process.pid}/status"
        self.assertTrue(until(lambda: f"TracerPid:\t{tracer.pid}\n" in open(status).read() or tracer.poll() is not None, 5))
        if tracer.poll() is not None:
            self.skipTest("strace may not attach here")
        return tracer


class Leases(Addresses):
    def test_kept(self):
        """with --lease-file machines find their addresses and names again after a restart, whoever comes first"""
        path = self.lab.path(f"kept-{os.getpid()}")
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        process, (a, b), _ = self.begin("--lease-file", path, "--lease-time", "2h", count=2)
        self.assertEqual(self.lease(a, "alpha")["ip"], "10.0.2.2")
        told = self.lease(b, "beta")
        self.assertEqual((told["ip"], told["lease"]), ("10.0.2.3", "7200"))
        self.assertTrue(until(lambda: mac("b") in open(path).read(), 5), "the lease is not in the file")
        self.assertEqual(self.lab.stop(process), 0)
        lines = [line.split() for line in open(path) if not line.startswith("#")]
        self.assertEqual([line[1:] for line in lines], [[mac("a"), "10.0.2.2", "alpha", "0"], [mac("b"), "10.0.2.3", "beta", "0"]])

        link = self.link("qemu")
        process = self.serve(link, options=["--lease-file", path])
        b, a = Machine(self, link, "b"), Machine(self, link, "a")
        # Before anybody asks: names are there, and nobody else gets the addresses.
        self.assertEqual(self.lease(Machine(self, link, "c"))["ip"], "10.0.2.4")
        self.assertEqual(self.lease(b)["ip"], "10.0.2.3")
        self.assertEqual(self.lease(a)["ip"], "10.0.2.2")
        self.lab.stop(process)

    def test_on_disk(self):
        """the lease file is synced before it gets its name, and its directory afterwards, by another thread than the one that has the frames"""
        folder = self.lab.path(f"synced-{os.getpid()}", directory=True)
        process, (a,), _ = self.begin("--lease-file", f"{folder}/leases")
        log = self.lab.path(f"synced-{os.getpid()}.calls")
        tracer = self.trace(process, log, "trace=write,fsync,rename,renameat,renameat2")
        self.lease(a)
        self.assertTrue(until(lambda: mac("a") in open(f"{folder}/leases").read(), 5), "the lease is not in the file")
        self.lab.stop(process)
        tracer.wait(5)
        found = [re.match(r"(\d+) +(\w+)\((.*)", line) for line in open(log)]
        threads, names, arguments = zip(*(call.groups() for call in found if call and folder in call[3]))
        self.assertEqual(names[:4], ("write", "fsync", "rename", "fsync"))
        self.assertIn("leases.new>", arguments[1])
        self.assertIn(f"<{os.path.realpath(folder)}>", arguments[3])
        self.assertNotIn(str(process.pid), threads)

    def test_broken_file(self):
        """a file with a line that is no lease is an error with its number, and stays as it is; so is one that cannot be written"""
        path = self.lab.write("broken-leases", "# first\n1 2 3\n")
        arguments = ["serve", "--listen", f"qemu:{self.path('never')}", "--lease-file"]
        result = self.lab.host.run([*self.command, *arguments, path])
        self.assertEqual(result.code, 125)
        self.assertIn("line 2", result.err)
        self.assertEqual(open(path).read(), "# first\n1 2 3\n")
        result = self.lab.host.run([*self.command, *arguments, "/proc/leases"])
        self.assertEqual(result.code, 125)
        self.assertIn("--lease-file /proc/leases", result.err)

    def test_told(self):
        """a client is told what it asks for: MTU, search list, name, time servers, routes, lease time"""
        _, (a, b), _ = self.begin(
            "--host", f"{mac('a')},web,10.0.2.50,{NET6}50", "--search", "example.org", "--ntp", "10.0.2.9", "--lease-time", "10m",
            "--route", "192.168.0.0/16,10.0.2.7", "--mtu", "1400", "--boot-file", "pxelinux.0", "--next-server", "10.0.2.8", count=2)
        told = self.lease(a, ask=("mtu", "search", "hostname", "ntpsrv", "staticroutes"))
        self.assertEqual(
            {name: told[name] for name in ("ip", "mtu", "domain", "search", "hostname", "ntpsrv", "lease", "siaddr", "boot_file")},
            {"ip": "10.0.2.50", "mtu": "1400", "domain": "vm.internal", "search": "vm.internal example.org", "hostname": "web",
             "ntpsrv": "10.0.2.9", "lease": "600", "siaddr": "10.0.2.8", "boot_file": "pxelinux.0"})
        self.assertEqual(told["staticroutes"].split(), ["192.168.0.0/16", "10.0.2.7", "0.0.0.0/0", GATEWAY4])
        # The reserved address is nobody else's, even if he asks for it.
        self.assertEqual(self.lease(b, request="10.0.2.50")["ip"], "10.0.2.2")

    def test_told6(self):
        """DHCPv6: the reserved address, resolver and search list"""
        self.need("dhclient")
        _, (a,), _ = self.begin("--host", f"{mac('a')},web,{NET6}50", "--search", "example.org")
        script = self.lab.write("dhclient6.sh", """#!/bin/sh
echo "$reason $new_ip6_address $new_dhcp6_name_servers $new_dhcp6_domain_search"
case $reason in BOUND6) ip -6 addr add "$new_ip6_address/64" dev eth0;; esac
""", mode=0o755)
        local = lambda: "tentative" not in (out := a.run(["ip", "-6", "addr", "show", "dev", "eth0", "scope", "link"]).out) and "fe80" in out
        self.assertTrue(until(local, 5), "no link-local address")
        leases = self.lab.path("dhclient6.leases")
        result = a.run(["dhclient", "-6", "-1", "-d", "-sf", script, "-lf", leases, "-pf", self.lab.path("dhclient6.pid"), "eth0"], timeout=6)
        self.assertIn(f"BOUND6 {NET6}50 {GATEWAY6} vm.internal. example.org.", result.out, str(result))


class Names(Addresses):
    def dig(self, machine, *words):
        self.need("dig")
        return machine.run(["dig", f"@{GATEWAY4}", "+short", "+tries=2", "+time=3", *words]).out.split()

    def test_machines(self):
        """NAME.vm.internal: fixed names and those that machines give themselves, forward and back; a name that is taken stays"""
        _, (a, b, c), log = self.begin("--host", f"{mac('a')},web", "--host", f"{mac('f')},db,10.0.2.60,{NET6}60", count=3)
        self.lease(a, "impostor")
        self.lease(b, "Build-01.example.org")
        self.lease(c, "web")
        self.assertEqual(self.dig(b, "web.vm.internal"), ["10.0.2.2"])
        self.assertEqual(self.dig(a, "build-01.vm.internal"), ["10.0.2.3"])
        self.assertEqual(self.dig(a, "-x", "10.0.2.3"), ["build-01.vm.internal."])
        self.assertEqual(self.dig(a, "db.vm.internal", "AAAA"), [f"{NET6}60"])
        self.assertEqual(self.dig(a, "-x", f"{NET6}60"), ["db.vm.internal."])
        self.assertEqual(self.dig(a, "impostor.vm.internal"), [])
        self.assertIn("NXDOMAIN", a.run(["dig", f"@{GATEWAY4}", "nobody.vm.internal"]).out)
        self.assertIn("calls itself web", log())

    def test_end(self):
        """when a lease's time is up its name and its line in the file go, although nobody asks for an address"""
        end = int(time.time()) + 4
        path = self.lab.write(f"ending-{os.getpid()}", f"{end} {mac('f')} 10.0.2.2 brief 0\n")
        _, (a,), _ = self.begin("--lease-file", path)
        a.configure(9, "9")
        self.assertEqual(self.dig(a, "brief.vm.internal"), ["10.0.2.2"])
        self.assertTrue(until(lambda: mac("f") not in open(path).read(), 8), "the lease is still in the file")
        self.assertGreaterEqual(time.time(), end - 1)
        self.assertEqual(self.dig(a, "brief.vm.internal"), [])

    def test_ports(self):
        """-p HOSTPORT:NAME:PORT leads to the machine that has the name now; while it has no address, clients are reset"""
        self.need("curl")
        _, (a, b), _ = self.begin("--host", f"{mac('b')},web", "-p", "14181:web:80", "-p", "14182:10.0.2.2:80", count=2)
        url = f"http://{HOST4}:14181/"
        self.assertEqual(self.lab.server.run(["curl", "-sS", "-m", "5", url]).code, 56)
        self.lease(a)
        self.lease(b)
        for machine, text in ((a, "a"), (b, "b")):
            server = machine.start([PYTHON, "-I", "-S", "-u", "-c", """
import socket, sys
s = socket.create_server(("", 80))
print("ready")
while True:
    c, _ = s.accept()
    c.recv(1000)
    c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + sys.argv[1].encode())
    c.close()
""", text], stdout=subprocess.PIPE)
            self.assertEqual(server.stdout.readline(), b"ready\n")
        self.assertEqual(self.lab.server.run(["curl", "-sS", "-m", "5", url]).out, "b")
        self.assertEqual(self.lab.server.run(["curl", "-sS", "-m", "5", f"http://{HOST4}:14182/"]).out, "a")


class Thieves(Addresses):
    # What a thief sends: ARP replies and announcements, neighbour advertisements, IP, a router advertisement.
    FORGE = """
import socket, struct, sys
own, victim4, victim6 = sys.argv[1:4]
own = bytes.fromhex(own.replace(":", ""))
a4, a6 = socket.inet_pton(socket.AF_INET, victim4), socket.inet_pton(socket.AF_INET6, victim6)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
everybody = b"\\xff" * 6
def arp(operation, sender, target): return everybody + own + b"\\x08\\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + own + sender + everybody + target
def total(data): return sum(struct.unpack(f"!{len(data) // 2}H", data))
def icmp6(source, message):
    to = socket.inet_pton(socket.AF_INET6, "ff02::1")
    sum_ = total(source + to + struct.pack("!II", len(message), 58) + message)
    while sum_ >> 16: sum_ = (sum_ & 0xffff) + (sum_ >> 16)
    message = message[:2] + struct.pack("!H", ~sum_ & 0xffff) + message[4:]
    return b"\\x33\\x33\\0\\0\\0\\1" + own + b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source + to + message
local = socket.inet_pton(socket.AF_INET6, "fe80::bad")
frames = [
    arp(2, a4, a4), arp(1, a4, a4), arp(1, bytes(4), a4),
    icmp6(a6, b"\\x88\\0\\0\\0" + b"\\x20\\0\\0\\0" + a6 + b"\\2\\1" + own),
    icmp6(local, b"\\x88\\0\\0\\0" + b"\\x20\\0\\0\\0" + a6 + b"\\2\\1" + own),
    icmp6(local, b"\\x86\\0\\0\\0" + struct.pack("!BBHII", 64, 0, 9000, 0, 0) + b"\\1\\1" + own),
]
for _ in range(20):
    for frame in frames: s.send(frame)
"""

    def neighbour(self, machine, address):
        out = machine.run(["ip", "neigh", "show", address]).out.split()
        return out[out.index("lladdr") + 1] if "lladdr" in out else None

    def reaches(self, source, address, *words):
        return source.run(["ping", "-q", "-c", "1", "-W", "2", *words, address]).code == 0

    def test_leased(self):
        """who sends ARP, neighbour advertisements or packets with an address that is leased to another, or the gateway's, takes nothing"""
        _, (victim, thief, third), log = self.begin("--host", f"{mac('a')},{NET6}2", count=3)
        for machine in (victim, thief, third):
            self.lease(machine)
        for last, machine in ((2, victim), (3, thief), (4, third)):
            machine.ip(f"addr add {NET6}{last}/64 dev eth0 nodad")
        for address, owner in (("10.0.2.2", mac("a")), (NET6 + "2", mac("a")), (GATEWAY4, None), (GATEWAY6, None)):
            self.assertTrue(self.reaches(third, address), address)
            known = self.neighbour(third, address)
            self.assertTrue(owner in (None, known), known)
        gateway = self.neighbour(third, GATEWAY4)
        routes = third.run(["ip", "-6", "route", "show", "default"]).out
        for victim4, victim6 in (("10.0.2.2", NET6 + "2"), (GATEWAY4, GATEWAY6)):
            thief.python(self.FORGE, mac("b"), victim4, victim6)
        self.assertTrue(self.reaches(third, "10.0.2.3"))  # What was sent before has been handed on.
        for address, owner in (("10.0.2.2", mac("a")), (NET6 + "2", mac("a")), (GATEWAY4, gateway), (GATEWAY6, gateway)):
            self.assertEqual(self.neighbour(third, address), owner, address)
            self.assertTrue(self.reaches(third, address), address)
        self.assertEqual(third.run(["ip", "-6", "route", "show", "default"]).out, routes, "the thief is a router")
        # Not towards the gateway either: what is sent with the address goes nowhere, and its owner's answers come.
        thief.ip("addr flush dev eth0 scope global")
        thief.ip("addr add 10.0.2.2/24 dev eth0")
        thief.ip(f"route add default via {GATEWAY4}")
        for target in (GATEWAY4, SERVER4, "10.0.2.4"):
            self.assertFalse(self.reaches(thief, target), target)
            self.assertTrue(self.reaches(victim, target), target)
        said = log()
        for words in ("leased to another machine", "address of the gateway", "that it is a router"):
            self.assertIn(words, said)
        # With its own address it is a machine like any other.
        self.lease(thief)
        self.assertTrue(self.reaches(thief, SERVER4))

    def test_first_come(self):
        """an address that nobody leased is the first's that uses it, until that goes; and DHCP does not hand it out"""
        _, (first, second, third), _ = self.begin(count=3)
        first.configure(2, "2")
        self.assertTrue(self.reaches(first, GATEWAY4))
        # From this address, not from one that it has made itself of an advertisement by now.
        self.assertTrue(self.reaches(first, GATEWAY6, "-I", NET6 + "2"))
        second.configure(2, "2")
        self.assertFalse(self.reaches(second, GATEWAY4))
        self.assertFalse(self.reaches(second, GATEWAY6, "-I", NET6 + "2"))
        self.assertTrue(self.reaches(first, GATEWAY4))
        self.assertEqual(self.lease(third)["ip"], "10.0.2.3")
        first.stop()
        self.assertTrue(until(lambda: self.reaches(second, GATEWAY4), 10))


class Mistakes(Addresses):
    def test_usage(self):
        """wrong settings are named"""
        link = f"qemu:{self.path('never')}"
        for options, code, word in (
                (["--host", "x"], 2, "MAC"), (["--host", mac("a")], 2, "nothing"), (["--host", f"{mac('a')},a b"], 2, "a b"),
                (["--host", f"{mac('a')},web", "--host", f"{mac('a')},db"], 2, "before"),
                (["--host", f"{mac('a')},web", "--host", f"{mac('b')},web"], 2, "another machine's"),
                (["--host", f"{mac('a')},10.0.2.9", "--host", f"{mac('b')},10.0.2.9"], 2, "another machine's"),
                (["--subnet", "10.0.2.0/24", "--host", f"{mac('a')},10.9.2.9"], 125, "not in the network"),
                (["--subnet", "10.0.2.0/24", "--host", f"{mac('a')},10.0.2.1"], 125, "gateway's"),
                (["--lease-time", "5"], 2, "60"), (["--lease-time", "x"], 2, "--lease-time"), (["--ntp", "x"], 2, "--ntp"), (["--search", ".."], 2, "--search"),
                (["--route", "10.0.0.1/8"], 2, "10.0.0.0/8"), (["--route", "0.0.0.0/0"], 2, "default"), (["--route", "fd00::/8"], 2, "IPv4"),
                (["--boot-file", ""], 2, "--boot-file"), (["--boot-file", "a", "--boot-file", "b"], 2, "another"), (["--next-server", "x"], 2, "--next-server"),
                (["-p", "1:a_b:2"], 2, "a_b")):
            with self.subTest(" ".join(options)):
                result = self.lab.host.run([*self.command, "serve", "--listen", link, *options])
                self.assertEqual(result.code, code, str(result))
                self.assertIn(word, result.err)
