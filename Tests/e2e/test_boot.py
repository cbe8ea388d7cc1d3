"""Booting from the network: files by TFTP and HTTP at the gateway, and a machine without a system that is started by them."""

import hashlib
import os
import re
import subprocess
import time

from lab import SERVER4, SERVER6
from support import GATEWAY4, GATEWAY6
import servers
from test_guests import Guest, IMAGE
from test_leases import Addresses
from test_machines import Machine


class Files(Addresses):
    def setUp(self):
        super().setUp()
        self.need("curl")
        self.data = os.urandom(3 << 20)
        self.lab.write("boot/sub/big.bin", self.data)
        self.lab.write("boot/empty", "")
        self.lab.write("secret", "secret")
        self.directory = self.lab.path("boot")
        for name, target in (("out", "../secret"), ("in", "sub/big.bin")):
            if not os.path.lexists(f"{self.directory}/{name}"):
                os.symlink(target, f"{self.directory}/{name}")

    def curl(self, machine, *words):
        return machine.run(["curl", "-sS", "-m", "20", "--path-as-is", *words], timeout=30)

    def digest(self, machine, url, *words):
        path = self.lab.path("fetched")
        result = self.curl(machine, "-o", path, *words, url)
        self.assertEqual(result.code, 0, str(result))
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def test_tftp(self):
        """files by TFTP, IPv4 and IPv6, with and without options; nothing outside of the directory, and nothing is written"""
        self.need("busybox")
        if "tftp" not in self.lab.host.run(["busybox", "--list"]).out.split():
            self.skipTest("busybox has no tftp")
        _, (machine,), _ = self.begin("--tftp", self.directory)
        machine.configure(2, "2")
        path = self.lab.path("fetched")

        def fetch(name, host=GATEWAY4, *words):
            result = machine.run(["busybox", "tftp", "-g", "-r", name, "-l", path, *words, host])
            if result.code != 0:
                return result.err
            with open(path, "rb") as file:
                return file.read() == self.data if name != "empty" else file.read()

        for host in (GATEWAY4, GATEWAY6):
            for words in ([], ["-b", "1428"], ["-b", "9000"]):
                with self.subTest(f"{host} {words}"):
                    self.assertEqual(fetch("sub/big.bin", host, *words), True)
        self.assertEqual(fetch("/in"), True)
        self.assertEqual(fetch("empty"), b"")
        for name in ("out", "../secret", "none", "sub"):
            self.assertIn("(1)", str(fetch(name)), name)
        result = machine.run(["busybox", "tftp", "-p", "-l", "/etc/hostname", "-r", "new", GATEWAY4])
        self.assertIn("(2)", result.err, str(result))
        self.assertFalse(os.path.exists(f"{self.directory}/new"))

    def test_slow_disk(self):
        """while the disk takes two seconds to read a file for one machine, the gateway answers another at once"""
        self.need("busybox")
        self.lab.write("boot/small", "small")
        process, (reader, other), _ = self.begin("--tftp", self.directory, count=2)
        reader.configure(2, "2")
        other.configure(3, "3")
        self.assertEqual(other.run(["ping", "-q", "-c", "1", GATEWAY4]).code, 0)
        self.trace(process, "/dev/null", "trace=pread64", "inject=pread64:delay_enter=2000000")
        path = self.lab.path(f"slow-{os.getpid()}")
        began = time.monotonic()
        client = reader.start(["busybox", "tftp", "-g", "-r", "small", "-l", path, GATEWAY4])
        pings = other.run(["ping", "-q", "-c", "10", "-i", "0.1", GATEWAY4])
        self.assertLess(float(re.search(r"= [\d.]+/[\d.]+/([\d.]+)/", pings.out)[1]), 1000, str(pings))
        self.assertEqual(client.wait(15), 0)
        self.assertGreater(time.monotonic() - began, 2, "the disk was not slow")
        with open(path) as file:
            self.assertEqual(file.read(), "small")

    def test_http(self):
        """files by HTTP: GET, HEAD, a range; no listing, nothing outside of the directory, no other method"""
        _, (machine,), _ = self.begin("--tftp", self.directory)
        machine.configure(2, "2")
        base = f"http://{GATEWAY4}"
        for host in (GATEWAY4, f"[{GATEWAY6}]"):
            self.assertEqual(self.digest(machine, f"http://{host}/sub/big.bin"), hashlib.sha256(self.data).hexdigest())
        part = hashlib.sha256(self.data[1000:2000]).hexdigest()
        self.assertEqual(self.digest(machine, f"{base}/sub/big.bin", "-r", "1000-1999"), part)
        out = self.curl(machine, "-I", f"{base}/sub/big.bin").out
        self.assertIn(f"Content-Length: {len(self.data)}", out)
        self.assertIn("200 OK", out)
        out = self.curl(machine, "-r", "1000-1999", "-o", "/dev/null", "-D", "-", f"{base}/sub/big.bin").out
        self.assertIn(f"Content-Range: bytes 1000-1999/{len(self.data)}", out)
        status = lambda *words: self.curl(machine, "-o", "/dev/null", "-w", "%{http_code}", *words).out
        for words, code in (([f"{base}/"], "404"), ([f"{base}/sub"], "404"), ([f"{base}/out"], "404"), ([f"{base}/../secret"], "404"),
                            ([f"{base}/%2e%2e/secret"], "404"), ([f"{base}/none"], "404"), ([f"{base}/empty"], "200"),
                            (["-X", "DELETE", f"{base}/in"], "405"), (["-d", "x=y", f"{base}/in"], "405"),
                            (["-r", f"{len(self.data)}-", f"{base}/in"], "416")):
            with self.subTest(" ".join(words)):
                self.assertEqual(status(*words), code)
        self.assertTrue(os.path.exists(f"{self.directory}/in"))

    def test_closed(self):
        """without --tftp the gateway's ports are closed, and a directory that is not there is an error"""
        _, (machine,), _ = self.begin()
        machine.configure(2, "2")
        self.assertEqual(self.curl(machine, f"http://{GATEWAY4}/in").code, 7)
        ask = "u = udp(sys.argv[1], 69); u.send(b'\\0\\1in\\0octet\\0'); print(error_of(lambda: u.recv(100))[0])"
        self.assertEqual(machine.python(ask, GATEWAY4), "ECONNREFUSED")
        result = self.lab.host.run([*self.command, "serve", "--listen", f"qemu:{self.path('never')}", "--tftp", "/no/such/directory"])
        self.assertEqual(result.code, 125)
        self.assertIn("--tftp /no/such/directory: No such file", result.err)


class Boots(Addresses):
    def test_ipxe(self):
        """iPXE gets its script by DHCP and TFTP, a kernel by TFTP, an initramfs by HTTP, and the system comes up and finds its network"""
        self.need("qemu-system-x86_64")
        if not any(os.path.exists(f"{at}/pxe-virtio.rom") for at in ("/usr/lib/ipxe/qemu", "/usr/share/qemu")):
            self.skipTest("ipxe-qemu is not installed")
        made = subprocess.run([os.path.join(os.path.dirname(IMAGE), "..", "scripts", "guest-image")], capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest("no guest: " + made.stderr.strip()[-200:])
        servers.nginx(self.lab)
        servers.dnsmasq(self.lab)
        for name in ("vmlinuz", "initramfs"):
            with open(f"{IMAGE}/{name}", "rb") as file:
                self.lab.write(f"ipxe/{name}", file.read())
        self.lab.write("ipxe/boot.ipxe", f"""#!ipxe
echo portolan: script: ${{net0/ip}} ${{next-server}} ${{user-class}} ${{filename}}
kernel tftp://${{next-server}}/vmlinuz console=ttyS0 quiet panic=-1 portolan.server4={SERVER4} portolan.server6={SERVER6} portolan.name=server.lab.test
initrd http://${{next-server}}/initramfs
boot
""")
        path = self.path("ipxe")
        self.serve(f"qemu:{path}", options=["--tftp", self.lab.path("ipxe"), "--boot-file", "undionly.kpxe", "--ipxe-script", "boot.ipxe",
                                             "--host", "52:54:00:12:34:56,diskless,10.0.2.77"])
        guest = Guest(self, f"stream,id=n,server=off,addr.type=unix,addr.path={path}", boots=True)
        self.assertTrue(guest.wait("ready", 150), "\n".join(guest.lines[-40:]))
        self.assertEqual(guest.said["script"].split(), ["10.0.2.77", GATEWAY4, "boot.ipxe"], "\n".join(guest.lines))
        self.assertEqual(guest.said["dhcp"], f"10.0.2.77/24 {GATEWAY4} {GATEWAY4}")
        self.assertEqual(guest.said[f"ping {SERVER4}"], "ok")
