"""A machine whose TCP/IP stack is not Linux's: lwIP behind the stream link (lwip/guest.c)."""

import hashlib
import os
import subprocess

import services
from lab import SERVER4, SERVER6, until
from support import GATEWAY4
from test_machines import Machines

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lwip", "guest.c")


class LwIP(Machines):
    program = None

    def setUp(self):
        super().setUp()
        if not os.path.exists("/usr/include/lwip/lwip/api.h"):
            self.skipTest("Debian's liblwip-dev is not installed; scripts/setup test installs it")
        if LwIP.program is None:
            path = self.lab.path("lwip-guest")
            subprocess.run(["gcc", "-O1", "-I/usr/include/lwip", "-o", path, SOURCE, "-llwip", "-lpthread"], check=True)
            LwIP.program = path
        self.socket = self.path("qemu")

    def guest(self, host, port, **keywords):
        return self.lab.host.start([self.program, self.socket, "10.0.2.2", GATEWAY4, host, str(port)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)

    def digest(self, address, count):
        """Sends `count` bytes of the stream and a FIN; what the server says of them."""
        guest = self.guest(address, 7002)
        out, err = guest.communicate(b"".join(bytes(chunk) for chunk in services.stream(count)), timeout=60)
        self.assertEqual(guest.returncode, 0, err)
        return out.decode().split()

    def test_both_ways(self):
        """4 MiB each way over IPv4 and IPv6 are byte-identical, the address of IPv6 from a router advertisement; half-close passes"""
        self.serve(f"qemu:{self.socket}")
        count = 4 << 20
        wanted = services.stream_digest(count)
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                self.assertEqual(self.digest(address, count), [wanted, str(count)])
                guest = self.guest(address, 7003)
                out, err = guest.communicate(b"%d\n" % count, timeout=60)
                self.assertEqual(guest.returncode, 0, err)
                self.assertEqual((len(out), hashlib.sha256(out).hexdigest()), (count, wanted))

    def test_served(self):
        """-p reaches a server on lwIP; data and ends pass both ways"""
        self.serve(f"qemu:{self.socket}", options=["-p", "13201:7"])
        guest = self.guest("-", 7)
        self.assertEqual(guest.stderr.readline(), b"listening\n")
        client = self.lab.server.start(
            ["python3", "-c", "import socket, sys\ns = socket.create_connection(('198.51.100.1', 13201), 5)\ns.sendall(b'x' * 100000)\n"
             "s.shutdown(1)\nprint(len(s.makefile('rb').read()))"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.lab.stop, client)
        out, err = guest.communicate(b"y" * 200000, timeout=30)
        self.assertEqual(out, b"x" * 100000, err)
        self.assertEqual(client.communicate(timeout=10)[0], "200000\n")

    def test_refused(self):
        """a refused connect is refused"""
        self.serve(f"qemu:{self.socket}")
        guest = self.guest(SERVER4, 1)
        self.assertIn(b"cannot connect", guest.communicate(timeout=10)[1])

    def test_dies_in_the_middle(self):
        """a machine that is killed while it sends leaves nothing behind that hinders the next one"""
        process = self.serve(f"qemu:{self.socket}")
        for _ in range(3):
            guest = self.guest(SERVER4, 7008)  # reads nothing
            guest.stdin.write(b"z" * 60000)
            guest.stdin.flush()
            self.assertTrue(until(lambda: self.lab.server.run(["ss", "-Htn", "state", "established", "sport = :7008"]).out.strip()))
            guest.kill()
            guest.communicate()
        self.assertEqual(self.digest(SERVER4, 1 << 20)[1], str(1 << 20))
        self.assertIsNone(process.poll())
