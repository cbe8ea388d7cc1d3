"""What stands in for a virtual machine: a network namespace whose tap's frames go over one of the links that machines use.

    machine.py LINK NAME    makes a network namespace with a tap `eth0` for itself and relays the tap's frames; prints `ready`

LINK is qemu:PATH, tcp://ADDR:PORT, dgram:PATH, vfkit:PATH (which says VFKT first), bess:PATH, vmnet:PATH (which introduces itself with a UUID made
of NAME and takes the MAC address it is given), hybrid-vsock:PATH, serial:PATH or stdio. The kernel of the namespace
does what a guest's would, but knows no offloads, like a guest behind QEMU's stream link. It ends when the link does, and says why.
"""

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import uuid
import zlib

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def open_tap(name, mac):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    os.system(f"ip link set {name} address {mac} && ip link set {name} up")
    return tap


class Stream:
    """Frames behind their length: 4 bytes big-endian, or 2 little-endian."""

    def __init__(self, read, write, form):
        self.read, self.write, self.form, self.held = read, write, form, b""
        self.size = struct.calcsize(form)

    def fileno(self):
        return self.read

    def send(self, frame):
        self.send_all(struct.pack(self.form, len(frame)) + frame)

    def send_all(self, data):
        while data:
            try:
                data = data[os.write(self.write, data):]
            except BlockingIOError:
                select.select([], [self.write], [])

    def receive(self):
        data = os.read(self.read, 1 << 18)
        if not data:
            raise EOFError
        self.held += data
        frames, at = [], 0
        while len(self.held) - at >= self.size:
            (length,) = struct.unpack_from(self.form, self.held, at)
            if len(self.held) - at - self.size < length:
                break
            frames.append(self.held[at + self.size:at + self.size + length])
            at += self.size + length
        self.held = self.held[at:]
        return frames


class Serial(Stream):
    """HDLC-like framing (RFC 1662) with FCS-32. Before its first frame it says what a booting machine's console would."""

    def __init__(self, fd):
        super().__init__(fd, fd, "")
        os.write(fd, b"[    0.000000] Linux version 6.1 ~}\r\nlogin: ~~")

    def send(self, frame):
        data = frame + struct.pack("<I", zlib.crc32(frame))
        for byte in (b"}", b"~", b"\x11", b"\x13"):
            data = data.replace(byte, b"}" + bytes([byte[0] ^ 0x20]))
        self.send_all(b"~" + data + b"~")

    def receive(self):
        data = os.read(self.read, 1 << 18)
        if not data:
            raise EOFError
        *pieces, self.held = (self.held + data).split(b"~")
        frames = []
        for piece in pieces:
            parts = piece.split(b"}")
            piece = parts[0] + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in parts[1:])
            if len(piece) > 4 and zlib.crc32(piece[:-4]) == struct.unpack("<I", piece[-4:])[0]:
                frames.append(piece[:-4])
        return frames


class Messages:
    def __init__(self, s):
        self.s = s

    def fileno(self):
        return self.s.fileno()

    def send(self, frame):
        while True:
            try:
                return self.s.send(frame)
            except BlockingIOError:
                select.select([], [self.s], [])

    def receive(self):
        frames = []
        for _ in range(64):
            try:
                frame = self.s.recv(1 << 17)
            except BlockingIOError:
                break
            if not frame:
                raise EOFError
            frames.append(frame)
        return frames


def connect(link, name):
    kind, _, rest = link.partition(":")
    if kind == "stdio":
        return Stream(0, 1, "<H")
    if kind == "tcp":
        host, _, port = rest[2:].rpartition(":")
        s = socket.create_connection((host.strip("[]"), int(port)))
        connect.kept = s
        return Stream(s.fileno(), s.fileno(), ">I")
    if kind in ("vmnet", "hybrid-vsock", "serial"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(rest)
        connect.kept = s
        if kind == "vmnet":
            s.sendall(b"VMN3T" + struct.pack("<I", 22) + bytes(40))
            s.recv(49, socket.MSG_WAITALL)
            s.sendall(struct.pack("<B36sI", 1, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)).encode(), 0))
            connect.mac = s.recv(258, socket.MSG_WAITALL)[5:11].hex(":")
        s.setblocking(False)
        return Serial(s.fileno()) if kind == "serial" else Stream(s.fileno(), s.fileno(), "<H")
    types = {"qemu": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "vfkit": socket.SOCK_DGRAM, "bess": socket.SOCK_SEQPACKET}
    s = socket.socket(socket.AF_UNIX, types[kind])
    connect.kept = s
    if kind in ("dgram", "vfkit"):
        own = f"{rest}.{name}"
        if os.path.exists(own):
            os.unlink(own)
        s.bind(own)
    s.connect(rest)
    if kind == "vfkit":
        s.send(b"VFKT")
    s.setblocking(False)
    return Stream(s.fileno(), s.fileno(), ">I") if kind == "qemu" else Messages(s)


def main(link, name):
    mac = "52:54:00:00:00:%02x" % (sum(name.encode()) & 0xff)
    peer = connect(link, name)
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:  # CLONE_NEWNET, once the socket is there
        raise OSError(ctypes.get_errno(), "unshare")
    tap = open_tap("eth0", getattr(connect, "mac", mac))
    print("ready", file=sys.stderr if link == "stdio" else sys.stdout, flush=True)
    try:
        while True:
            for ready in select.select([tap, peer.fileno()], [], [])[0]:
                if ready == tap:
                    for _ in range(64):
                        try:
                            frame = os.read(tap, 1 << 17)
                        except BlockingIOError:
                            break
                        peer.send(frame)
                else:
                    for frame in peer.receive():
                        try:
                            if len(frame) >= 14: os.write(tap, frame)
                        except OSError as error:
                            # The interface is down for the moment: a machine that is not listening.
                            if error.errno != errno.EIO: raise
    except (EOFError, ConnectionError, BrokenPipeError) as error:
        print("ended", type(error).__name__, flush=True, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
