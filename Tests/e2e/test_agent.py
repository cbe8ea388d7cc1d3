"""`portolan guest`, the agent in a VM without a network card: in a namespace on this machine, and for real in guests with vsock and serial lines."""

import os
import signal
import subprocess

import servers
from lab import PYTHON, SERVER4, rests, until
from support import PRELUDE, ROOT
from test_guests import Booted, Guest
from test_machines import Links, Machine, Machines


class Agent(Machine):
    """A network namespace in which the agent makes eth0."""

    def __init__(self, test, peer, *options, wait=True):
        self.test, self.lab = test, test.lab
        ready, signal_fd = os.pipe()
        self.process = test.lab.host.start(
            ["unshare", "-n", *test.command, "guest", "--connect", peer, "--interface", "eth0", "--ready-fd", str(signal_fd), *options],
            pass_fds=[signal_fd])
        test.addCleanup(test.lab.stop, self.process)
        os.close(signal_fd)
        if wait:
            test.assertEqual(os.read(ready, 1), b"1")
            self.ip("link set lo up")
        os.close(ready)


ADDRESSES = ("--address", "10.0.2.2/24", "--gateway", "10.0.2.1", "--address", "fd00:706f:7274::2/64", "--gateway", "fd00:706f:7274::1")
REACH = "s = tcp(sys.argv[1], 7001); s.sendall(b'hi'); print(s.recv(2))"


class Agents(Machines):
    TRANSFER = Links.TRANSFER

    def links(self):
        """What `serve` listens on, and what the agent calls it."""
        for kind, name in (("hybrid-vsock", "unix"), ("qemu", "qemu"), ("tcp", "tcp")):
            link = self.link(kind)
            yield link, link if name == "tcp" else f"{name}:{link.partition(':')[2]}"

    def test_transfers(self):
        """TCP both ways with checksum, UDP and ping, IPv4 and IPv6, over lengths of two and of four bytes; and with an MTU of 65520"""
        for mtu in (1500, 65520):
            for link, peer in self.links():
                if link.startswith("tcp"):
                    continue  # an empty namespace has no loopback of ours
                with self.subTest(f"{peer.partition(':')[0]} {mtu}"):
                    process = self.serve(link, options=["--mtu", str(mtu)])
                    agent = Agent(self, peer, "--mtu", str(mtu), *ADDRESSES)
                    Links.everything(self, agent, sizes=(0, 1, 1400, 9000, 60000) if mtu == 1500 else (0, 1, 1400))
                    agent.stop()
                    self.assertEqual(self.lab.stop(process), 0)

    def test_comes_back(self):
        """the server is killed and comes back: the interface and its addresses stay, without carrier meanwhile"""
        link = self.link("hybrid-vsock")
        peer = f"unix:{link.partition(':')[2]}"
        process = self.serve(link)
        agent = Agent(self, peer, *ADDRESSES)
        for _ in range(3):
            self.assertEqual(agent.python(REACH, SERVER4), "b'hi'")
            process.kill()
            process.wait()
            self.assertTrue(until(lambda: "NO-CARRIER" in agent.run(["ip", "link", "show", "eth0"]).out))
            process = self.serve(link)
            self.assertTrue(until(lambda: "LOWER_UP" in agent.run(["ip", "link", "show", "eth0"]).out, 10))
        self.assertEqual(agent.python(REACH, SERVER4), "b'hi'")
        agent.ip("link del eth0")
        self.assertEqual(agent.process.wait(5), 0)

    def test_waits_for_its_server(self):
        """an agent that is started first connects when there is somebody"""
        link = self.link("qemu")
        ready, signal_fd = os.pipe()
        agent = Agent(self, link, *ADDRESSES, wait=False)
        self.assertTrue(until(lambda: "eth0" in agent.run(["ip", "link"]).out))
        self.assertTrue(rests(agent.process.pid, 0.02), "it spins")
        self.serve(link)
        self.assertTrue(until(lambda: agent.run(["ping", "-c1", "-W1", "10.0.2.1"]).code == 0, 15))

    def test_stopped_server(self):
        """a server that stands still costs the agent no memory, however much the VM sends"""
        link = self.link("hybrid-vsock")
        process = self.serve(link)
        agent = Agent(self, f"unix:{link.partition(':')[2]}", *ADDRESSES)
        self.assertEqual(agent.python(REACH, SERVER4), "b'hi'")

        def resident(pid):
            with open(f"/proc/{pid}/status") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

        before = resident(agent.process.pid)
        process.send_signal(signal.SIGSTOP)
        agent.python(f"""
u = udp()
for _ in range(40000): u.sendto(bytes(1400), ({SERVER4!r}, 7101))""")
        self.assertLess(resident(agent.process.pid) - before, 2048, "KiB")
        self.assertTrue(rests(agent.process.pid, 0.02), "it spins")
        process.send_signal(signal.SIGCONT)
        self.assertEqual(agent.python(REACH, SERVER4), "b'hi'")

    def test_serial_terminal(self):
        """serial:PTY on both sides, with an echo and a login prompt before the agent: a terminal is put into raw mode, noise is skipped"""
        ours, theirs = os.openpty()  # for the server: a terminal that the relay below holds
        near, far = os.openpty()
        import select
        import threading

        os.write(far, b"[    0.000000] Linux version 6.1 ~}\r\nlogin: ")

        def relay():
            while True:
                for fd in select.select([ours, near], [], [])[0]:
                    data = os.read(fd, 65536)
                    other = near if fd == ours else ours
                    while data:
                        data = data[os.write(other, data):]

        threading.Thread(target=relay, daemon=True).start()
        self.serve(f"serial:{os.ttyname(theirs)}")
        agent = Agent(self, f"serial:{os.ttyname(far)}", *ADDRESSES)
        self.assertTrue(until(lambda: agent.run(["ping", "-c1", "-W1", "10.0.2.1"]).code == 0, 15))
        out = agent.python(self.TRANSFER, SERVER4, 1 << 20, os.path.dirname(servers.__file__), 0, 1400, timeout=60)
        self.assertEqual(out.split(), ["True", "True"])

    def test_options(self):
        """what is wrong is said with its option, and exits with 2; an interface that exists with 125"""
        for words, said in ((["--connect", "vsock:x"], "vsock:x"), (["--connect", "vsock:1", "--mtu", "9"], "--mtu 9"), (["--connect", "vsock:1", "--mac", "1"], "--mac 1"),
                            (["--connect", "vsock:1", "--address", "10.0.0.1"], "--address 10.0.0.1"), (["--connect", "vsock:1", "--gateway", "x"], "--gateway x"), ([], "--connect")):
            result = self.lab.host.run([*self.command, "guest", *words])
            self.assertEqual(result.code, 2, str(result))
            self.assertIn(said, result.err)
        result = self.lab.host.run([*self.command, "guest", "--connect", "unix:/nowhere", "--interface", "h-s"])
        self.assertEqual(result.code, 125, str(result))
        self.assertIn("h-s", result.err)


class Guests(Booted):
    """The agent in a Debian guest. Its initramfs has this build of Portolan with its libraries."""

    def setUp(self):
        super().setUp()
        self.need("qemu-system-x86_64")
        self.initramfs = self.lab.path("agent-initramfs")
        if not os.path.exists(self.initramfs):
            subprocess.run([os.path.join(ROOT, "scripts", "guest-image"), "--with", self.command[0], self.initramfs], check=True)

    def boot(self, what, *devices):
        return Guest(self, None, devices=devices, initramfs=self.initramfs, words=f"portolan.try={what}")

    def test_vsock(self):
        """both ends over AF_VSOCK (vsock_loopback in the guest; this machine's kernel has no loopback for it): DHCP, ping, TCP both ways, and the server's death"""
        guest = self.boot("vsock")
        self.assertTrue(guest.wait("ready", 150), "\n".join(guest.lines[-40:]))
        said = guest.said
        self.assertEqual(said["dhcp"], "10.0.2.2/24 10.0.2.1 10.0.2.1")
        self.assertEqual((said["ping 10.0.2.1"], said["ping 192.0.2.1"]), ("ok", "ok"), said)
        self.assertEqual((said["download"], said["upload"], said["again"]), (said["digest"],) * 3)
        self.assertEqual(said["while away"], "NO-CARRIER")

    def test_serial(self):
        """over a port of virtio-serial and over an emulated UART whose other end is `serve --listen serial:SOCKET`: all that a network card does"""
        root, _ = servers.nginx(self.lab), servers.dnsmasq(self.lab)
        digest = servers.sha256(f"{root}/big.bin")
        path = self.path("serial")
        chardev = ("-chardev", f"socket,id=line,path={path}")
        for device, options in (("/dev/vport0p1", ("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=line")), ("/dev/ttyS1", ("-device", "isa-serial,chardev=line"))):
            with self.subTest(device):
                process = self.serve(f"serial:{path}")
                guest = self.boot(device, *chardev, *options)
                wanted = "download" if device != "/dev/ttyS1" else f"ping {SERVER4}"
                self.assertTrue(guest.wait(wanted, 120), "\n".join(guest.lines[-40:]))
                said = guest.said
                self.assertEqual(said["dhcp"].split()[0], "10.0.2.2/24")
                self.assertEqual(said[f"ping {SERVER4}"], "ok")
                if wanted == "download":
                    self.assertEqual(said["download"], digest)
                self.lab.stop(guest.process)
                self.lab.stop(process)
