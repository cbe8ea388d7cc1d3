"""Urgent (out-of-band) bytes and ECN: what few programs use and every path may lose."""

import subprocess

from lab import PYTHON, SERVER4, SERVER6
from support import EndToEnd, PRELUDE

# Reads a stream until its end, the urgent byte apart: prints what came before the mark, the urgent byte, and the length behind it.
READER = """
def read_urgent(s):
    poll = select.poll()
    poll.register(s, select.POLLPRI | select.POLLIN)
    before, urgent, after = b"", b"", b""
    mark = 0
    import fcntl
    while True:
        for _, events in poll.poll(15000):
            if events & select.POLLPRI and not urgent:
                urgent = s.recv(1, socket.MSG_OOB)
        at_mark = struct.unpack("i", fcntl.ioctl(s, 0x8905, b"\\0" * 4))[0]
        if at_mark and not mark: mark = 1
        piece = s.recv(65536)
        if not piece: break
        if mark: after += piece
        else: before += piece
    print(len(before), urgent.decode() or "-", len(after))
"""

SERVER = PRELUDE + READER + """
listener = socket.create_server((sys.argv[1], 0), family=family(sys.argv[1]))
print(listener.getsockname()[1], flush=True)
s, _ = listener.accept()
if sys.argv[2] == "reads": read_urgent(s)
else:
    s.sendall(b"a" * 5000); s.send(b"!", socket.MSG_OOB); s.sendall(b"b" * 3000); s.close()
"""


class Urgent(EndToEnd):
    def serve(self, address, what):
        server = self.lab.server.start([PYTHON, "-I", "-S", "-c", SERVER, address, what], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.lab.stop, server)
        return server, int(server.stdout.readline())

    def test_from_the_sandbox(self):
        """an urgent byte that the sandbox sends reaches the server as one, at its place, IPv4 and IPv6"""
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                server, port = self.serve(address, "reads")
                self.python("""
s = tcp(sys.argv[1], int(sys.argv[2]))
s.sendall(b"a" * 5000); s.send(b"!", socket.MSG_OOB); s.sendall(b"b" * 3000); s.close()
""", address, port)
                self.assertEqual(server.stdout.readline().split(), ["5000", "!", "3000"])

    def test_from_the_server(self):
        """an urgent byte that the server sends reaches the sandbox as one, at its place, IPv4 and IPv6"""
        for address in (SERVER4, SERVER6):
            with self.subTest(address):
                _, port = self.serve(address, "sends")
                out = self.python(READER + "read_urgent(tcp(sys.argv[1], int(sys.argv[2])))", address, port)
                self.assertEqual(out.split(), ["5000", "!", "3000"])

    def test_ecn_is_agreed_on(self):
        """a sandbox that offers ECN gets it (TCP_INFO says so), and its transfers are whole"""
        self.need("sysctl")
        out = self.succeeds(["sh", "-c", f"""
sysctl -qw net.ipv4.tcp_ecn=$1
exec {PYTHON} -I -S -c 'import socket
s = socket.create_connection(("{SERVER4}", 7001)); s.sendall(b"x" * 1000)
print(len(s.recv(1000, socket.MSG_WAITALL)), s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 8)'
""", "sh", "1"])
        self.assertEqual(out.split(), ["1000", "8"])
