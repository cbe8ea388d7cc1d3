"""Real guests: a Debian kernel with a busybox initramfs (scripts/guest-image) in QEMU, by software emulation, on each of its sockets; and user-mode Linux."""

import os
import subprocess
import threading

import servers
from lab import HOST4, SERVER4, SERVER6, until
from support import GATEWAY4, ROOT
from test_machines import Machines

IMAGE = os.path.join(ROOT, ".build", "guest")


WORDS = f"quiet panic=-1 portolan.server4={SERVER4} portolan.server6={SERVER6} portolan.name=server.lab.test"


class Console:
    """A running guest and what it has said on its console."""

    def start(self, test, command):
        self.said, self.lines = {}, []
        self.process = test.lab.host.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        test.addCleanup(test.lab.stop, self.process)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            # The BIOS's console has its own idea of where a line begins.
            if "portolan: " in line:
                name, _, value = line[line.index("portolan: ") + 10:].partition(": ")
                self.said[name] = value.strip()

    def wait(self, name, timeout=90):
        return until(lambda: name in self.said or self.process.poll() is not None, timeout) and name in self.said


class Guest(Console):
    """In QEMU."""

    def __init__(self, test, netdev, mac="52:54:00:12:34:56", devices=(), initramfs=f"{IMAGE}/initramfs", words="", boots=False, device=""):
        # A machine that boots from the network has the firmware of its card, which speaks over the BIOS's console.
        command = [
            servers.program("qemu-system-x86_64"), "-M", "q35,graphics=off", "-accel", "tcg", "-m", "384" if words else "192", "-nodefaults", "-no-user-config",
            "-display", "none", "-serial", "stdio", "-no-reboot", *devices]
        command += ["-boot", "n"] if boots else [
            "-kernel", f"{IMAGE}/vmlinuz", "-initrd", initramfs, "-append",
            f"console=ttyS0 {WORDS} {words}"]
        if netdev:
            command += ["-netdev", netdev, "-device", f"virtio-net-pci,netdev=n,mac={mac}" + ("" if boots else ",romfile=") + device]
        self.start(test, command)


class UserMode(Console):
    """User-mode Linux: a kernel that is an ordinary process. Its card is `vec0`, on a packet socket."""

    def __init__(self, test, path, mac="52:54:00:12:34:57"):
        # Its memory is a file that it maps to run what is in it: no place for a /tmp or /dev/shm that may be small, or without exec.
        self.start(test, ["env", f"TMPDIR={test.lab.directory}", f"{IMAGE}/linux.uml", "mem=128M", f"initrd={IMAGE}/initramfs",
                          f"vec0:transport=bess,dst={path},mac={mac}", "con=null", "con0=null,fd:1", "ssl=null", "portolan.try=uml", *WORDS.split()])


class Booted(Machines):
    def setUp(self):
        super().setUp()
        made = subprocess.run([os.path.join(ROOT, "scripts", "guest-image")], capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest("no guest: " + made.stderr.strip()[-200:])

    def check(self, link, boot):
        """Boots a guest and goes through what it tried."""
        root, _ = servers.nginx(self.lab), servers.dnsmasq(self.lab)
        digest = servers.sha256(f"{root}/big.bin")
        process = self.serve(link, options=["-p", "14080:80"])
        guest = boot()
        self.assertTrue(guest.wait("ready"), "\n".join(guest.lines[-40:]))
        said = guest.said
        self.assertEqual(said["dhcp"], f"10.0.2.2/24 {GATEWAY4} {GATEWAY4}")
        self.assertEqual(sorted(said["dns"].split()), sorted([SERVER4, SERVER6]), said)
        self.assertEqual((said[f"ping {SERVER4}"], said[f"ping {GATEWAY4}"], said["ping6"]), ("ok", "ok", "ok"), said)
        self.assertEqual(said["download"], digest)
        self.assertIn("fd00:706f:7274:", said["address6"])
        self.assertEqual(said["download6"], digest)
        result = self.lab.server.run(["curl", "-sS", "-m", "10", f"http://{HOST4}:14080/hello.txt"])
        self.assertEqual(result.out, "hello from the guest\n", str(result))
        return process, guest


class UML(Booted):
    def test_bess(self):
        """user-mode Linux, transport=bess: DHCP, DNS, ping, downloads with checksum, a served port, IPv4 and IPv6; and it comes back"""
        path = self.path("uml")
        process, guest = self.check(f"bess:{path}", lambda: UserMode(self, path))
        # Not killed: its processes would go on, and the connection with them.
        self.lab.stop(guest.process)
        again = UserMode(self, path)
        self.assertTrue(again.wait("download"), "\n".join(again.lines[-40:]))
        self.assertEqual(again.said["dhcp"].split()[0], "10.0.2.2/24", "the same machine has another address")
        self.assertEqual(self.lab.stop(process), 0)


class QEMU(Booted):
    def setUp(self):
        super().setUp()
        self.need("qemu-system-x86_64")

    def check(self, netdev, link, **keywords):
        return super().check(link, lambda: Guest(self, netdev, **keywords))

    def test_stream(self):
        """-netdev stream: DHCP, DNS, ping, downloads with checksum, a served port, IPv4 and IPv6; and the guest comes back after a kill"""
        path = self.path("guest")
        netdev = f"stream,id=n,server=off,addr.type=unix,addr.path={path}"
        process, guest = self.check(netdev, f"qemu:{path}")
        guest.process.kill()
        again = Guest(self, netdev)
        self.assertTrue(again.wait("download"), "\n".join(again.lines[-40:]))
        self.assertEqual(again.said["dhcp"].split()[0], "10.0.2.2/24", "the same machine has another address")
        self.assertEqual(self.lab.stop(process), 0)

    def test_dgram(self):
        """-netdev dgram: the same"""
        path = self.path("guest-dgram")
        self.check(f"dgram,id=n,local.type=unix,local.path={path}.peer,remote.type=unix,remote.path={path}", f"dgram:{path}")

    def test_socket(self):
        """-netdev socket,connect=, over loopback: the same"""
        self.check("socket,id=n,connect=127.0.0.1:15055", "tcp://127.0.0.1:15055")

    # Without KVM, QEMU 7.2 crashes in its own virtio-pci code when a vhost device uses MSI-X: hence vectors=0.
    SHARED = ("-object", "memory-backend-memfd,id=m,size=192M,share=on", "-machine", "memory-backend=m")

    def test_vhost_user(self):
        """-netdev vhost-user with shared memory: the same; and the guest comes back after a kill"""
        path = self.path("guest-vhost")
        options = (*self.SHARED, "-chardev", f"socket,id=c,path={path}")
        process, guest = self.check("vhost-user,id=n,chardev=c", f"vhost-user:{path}", devices=options, device=",vectors=0")
        guest.process.kill()
        again = Guest(self, "vhost-user,id=n,chardev=c", devices=options, device=",vectors=0")
        self.assertTrue(again.wait("download"), "\n".join(again.lines[-40:]))
        self.assertEqual(self.lab.stop(process), 0)

    def test_vhost_user_without_offloads(self):
        """the same with a driver that knows neither offloads nor mergeable buffers"""
        path = self.path("guest-vhost-plain")
        self.check("vhost-user,id=n,chardev=c", f"vhost-user:{path}", devices=(*self.SHARED, "-chardev", f"socket,id=c,path={path}"),
                   device=",vectors=0,csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,host_tso4=off,host_tso6=off,mrg_rxbuf=off,event_idx=off,indirect_desc=off")
