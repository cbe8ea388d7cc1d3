#!/usr/bin/env python3
"""Scripts of Tests/Scripts against the Linux kernel's TCP: `Tests/e2e/scripts.py FILE...` (as root).

Each script gets a network namespace of its own with a tap in it. The guest's segments are written to the tap, whatever the kernel sends
there is held against the script's lines, and the host's application is a socket that listens or connects in the same namespace. All in one
thread: whatever waits, waits in `Conversation.pump`, so every frame gets its time when it comes.

docs/tcp-scripts.md has the grammar (ScriptParser.swift reads the same files) and says what is compared more loosely here.
"""

import ctypes
import fcntl
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time

EARLY, LATE = 0.020, 0.060
GUEST_PORT, REMOTE_PORT = 40000, 80
GATEWAY_MAC, GUEST_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
FLAGS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "U": URG, "E": ECE, "W": CWR, ".": ACK, "-": 0}
UNREACHABLE = {4: {"net": (3, 0), "host": (3, 1), "port": (3, 3), "prohibited": (3, 13)},
               6: {"net": (1, 0), "host": (1, 3), "port": (1, 4), "prohibited": (1, 1)}}
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI, SIOCATMARK = 0x400454CA, 0x0002, 0x1000, 0x8905


class ScriptError(Exception):
    """A line that cannot be read, or an answer that is not as the line says: `file:line: what`."""


class CannotRun(Exception):
    """This machine does not let us make the namespace or the tap."""


# What a script says


class Script:
    def __init__(self, path, side="linux"):
        self.path, self.side = path, side
        self.name = os.path.basename(path)
        self.ip, self.mtu, self.isn, self.buffer, self.only, self.events = 4, 1500, 1_000_000, None, None, []
        self.title = ""
        says_why = False
        with open(path) as file:
            for self.line, text in enumerate(file, 1):
                if self.line == 1:
                    self.title = text.lstrip("# ").strip()
                words = text.split("#")[0].split()
                if not words:
                    continue
                if words[0] == "differs:":
                    says_why = True
                elif words[0] == "only":
                    self.only = (words[1].rstrip(":"), " ".join(words[2:]))
                elif words[0] in ("ip", "mtu", "isn", "buffer"):
                    setattr(self, words[0], int(words[1]))
                else:
                    ours = True
                    if words[0] in ("linux:", "portolan:"):
                        if not says_why:
                            raise self.error("a line for one side without 'differs:'")
                        ours = words.pop(0) == side + ":"
                    if ours:
                        self.events += self.event(words)

    def error(self, message):
        return ScriptError(f"{self.path}:{self.line}: {message}")

    def event(self, words):
        times = [float(t) for t in words[0].lstrip("+").split("..")]
        count = 1
        if words[1] in ("guest>", "guest<") and re.fullmatch(r"\d+x", words[2]):
            count = int(words.pop(2)[:-1])
        for i in range(count):
            first = i == 0
            yield self.line, times[0] if first else 0.0, times[-1] if first else 0.0, words[1], words[2:], i


class Number:
    """A relative sequence number, or `@` for the sender's next."""

    def __init__(self, text):
        self.is_next = text.startswith("@")
        self.offset = int(text.lstrip("@") or 0)

    def at(self, following):
        return self.offset + (following if self.is_next else 0)


class Segment:
    """A segment as a line writes it. `step`: which one of a train."""

    def __init__(self, words, step, script):
        whole = " ".join(words)
        match = re.fullmatch(r"(\S+) (\S+):(\S+)\((\d+)\)(?: ack (\S+))?(?: win (\S+))?(?: urg (\d+))?(?: <(.*)>)?", whole)
        if not match:
            raise script.error(f"'{whole}' is no segment")
        flags, start, _, length, ack, window, urgent, options = match.groups()
        self.flags = sum(FLAGS[letter] for letter in flags)
        self.start, self.length = Number(start), int(length)
        if not self.start.is_next:
            self.start.offset += step * self.length
        self.ack = Number(ack) if ack else None
        self.window = window
        self.urgent = int(urgent) - step * self.length if urgent else 0
        self.options = None if options is None else dict(item.strip().split(" ", 1) if " " in item.strip() else (item.strip(), "")
                                                         for item in options.split(",") if item.strip() != "nop")

    @property
    def is_bare_ack(self):
        return self.flags == ACK and self.length == 0 and not (self.options and "sack" in self.options)


# The wire


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pattern(start, end):
    """Bytes `start` to `end` of either stream."""
    return bytes((i * 31 + (i >> 8)) & 0xFF for i in range(start, end))


def signed(number):
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


class Seen:
    """A segment that the kernel sent (`icmp`: an ICMP error), its numbers relative."""

    def __init__(self, at, packet, icmp=None):
        self.at, self.packet, self.icmp = at, packet, icmp

    def parse(self, tcp, conversation):
        _, _, sequence, ack, offset, self.flags, self.window, _, self.urgent = struct.unpack("!HHIIBBHHH", tcp[:20])
        header = (offset >> 4) * 4
        self.options, self.sacks, options = {}, [], tcp[20:header]
        while options and options[0] != 0:
            if options[0] == 1:
                options = options[1:]
                continue
            kind, body, options = options[0], options[2:options[1]], options[options[1]:]
            if kind == 2:
                self.options["mss"] = struct.unpack("!H", body)[0]
            elif kind == 3:
                self.options["wscale"] = body[0]
            elif kind == 4:
                self.options["sackOK"] = True
            elif kind == 8:
                self.options["TS"] = struct.unpack("!II", body)
            elif kind == 5:
                numbers = struct.unpack(f"!{len(body) // 4}I", body)
                self.sacks = [tuple(signed(n - conversation.script.isn) for n in numbers[i:i + 2]) for i in range(0, len(numbers), 2)]
        if self.flags & SYN:
            if conversation.iss != sequence:
                conversation.host_next = 0
            conversation.iss = sequence
            if self.flags & ACK:
                conversation.guest_syn = signed(ack - conversation.script.isn) - 1
            conversation.mss = self.options.get("mss", 536)
            conversation.offered_shift = self.options.get("wscale", 0)
        if "TS" in self.options:
            conversation.last_stamp = self.options["TS"][0]
        self.start = signed(sequence - conversation.iss)
        self.ack = signed(ack - conversation.script.isn)
        self.payload = tcp[header:]
        self.length = len(self.payload)
        if self.flags & ACK and not self.flags & RST:
            conversation.window = self.window << (0 if self.flags & SYN else conversation.shift)
            conversation.edge = max(conversation.edge, self.ack + conversation.window)
        return self

    @property
    def is_bare_ack(self):
        return self.icmp is None and self.flags == ACK and self.length == 0 and not self.sacks

    def __str__(self):
        if self.icmp:
            return f"icmp type {self.icmp[0]} code {self.icmp[1]}"
        letters = "".join(letter for letter, bit in FLAGS.items() if bit and self.flags & bit)
        text = f"{letters} {self.start}:{self.start + self.length}({self.length})"
        if self.flags & ACK:
            text += f" ack {self.ack}"
        text += f" win {self.window}" + (f" urg {self.urgent}" if self.urgent else "")
        options = [f"{k} {v}" for k, v in self.options.items()] + (["sack " + " ".join(f"{a}:{b}" for a, b in self.sacks)] if self.sacks else [])
        return text + (f" <{','.join(options)}>" if options else "")


class Conversation:
    """A script on its way: the tap, the host's sockets, and what both ends have said."""

    def __init__(self, script):
        self.script = script
        self.iss = self.host_next = self.guest_next = self.guest_syn = 0
        self.window = self.edge = self.offered_shift = self.last_stamp = 0
        self.mss, self.guest_scales = 536, False
        self.arrivals, self.taken = [], []
        self.last_ack = None
        self.guest, self.gateway, self.remote = (
            ("10.0.2.2", "10.0.2.1", "198.51.100.7") if script.ip == 4 else ("fd00::2", "fd00::1", "2001:db8::7"))
        self.family = socket.AF_INET if script.ip == 4 else socket.AF_INET6
        self.tap = self.make_namespace()
        self.connection = self.listener = self.opening = None
        self.reads, self.received, self.urgent, self.ended, self.was_reset, self.written = True, b"", [], False, False, 0
        if any(event[3] == "host" and event[4] == ["connect", "succeeds"] for event in script.events):
            self.listen()
        self.base = time.monotonic()

    def make_namespace(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise CannotRun(f"unshare(CLONE_NEWNET): {os.strerror(ctypes.get_errno())}")
        try:
            tap = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI))
        except OSError as error:
            raise CannotRun(f"/dev/net/tun: {error.strerror}") from None
        for name, value in (
                ("ipv4/tcp_invalid_ratelimit", "0"), ("ipv4/tcp_syn_linear_timeouts", "0"), ("ipv4/tcp_no_metrics_save", "1"), ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"), ("ipv4/icmp_ratelimit", "0"), ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/all/accept_dad", "0"), ("ipv6/conf/default/router_solicitations", "0")):
            try:
                with open("/proc/sys/net/" + name, "w") as file:
                    file.write(value)
            except OSError:
                pass
        bits, whole, nodad = (24, 32, "") if self.script.ip == 4 else (64, 128, " nodad")
        commands = f"""link set lo up
            link set tap0 address {GATEWAY_MAC.hex(":")} mtu {self.script.mtu} up
            addr add {self.gateway}/{bits} dev tap0{nodad}
            addr add {self.remote}/{whole} dev lo{nodad}
            neigh replace {self.guest} lladdr {GUEST_MAC.hex(":")} nud permanent dev tap0"""
        result = subprocess.run(["ip", "-batch", "-"], input="\n".join(line.strip() for line in commands.splitlines()), text=True, capture_output=True)
        if result.returncode != 0:
            raise CannotRun(f"ip: {result.stderr.strip()}")
        os.set_blocking(tap, False)
        return tap

    @property
    def shift(self):
        return self.offered_shift if self.guest_scales else 0

    def socket(self):
        """A socket of the host's application at the remote address."""
        made = socket.socket(self.family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # An urgent byte keeps its place in the stream, and a read stops before it.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        if self.script.buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.script.buffer)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Reno is always there (tcp_congestion_control(7)), and its windows can be reckoned by hand.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        made.bind((self.remote, REMOTE_PORT))
        made.setblocking(False)
        return made

    def listen(self):
        self.listener = self.socket()
        self.listener.listen(4)

    def connect(self):
        self.opening = self.socket()
        self.opening.connect_ex((self.guest, GUEST_PORT))

    def opened(self):
        if self.opening.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.was_reset = True
            self.opening.close()
        else:
            self.connection = self.opening
        self.opening = None

    # Time

    def pump(self, until, stop=lambda: False):
        """Lets time pass until then, or until `stop()`; whatever comes meanwhile is noted with its time."""
        while not stop():
            left = until - time.monotonic()
            if left <= 0:
                # Once more without waiting: what is there already came in time.
                left = 0
            inputs = [self.tap]
            if self.listener:
                inputs.append(self.listener)
            if self.connection and self.reads and not self.ended and not self.was_reset:
                inputs.append(self.connection)
            ready, opened, _ = select.select(inputs, [self.opening] if self.opening else [], [], left)
            if not ready and not opened and left == 0:
                return
            if self.tap in ready:
                self.read_tap()
            if opened:
                self.opened()
            if self.listener and self.listener in ready:
                self.connection, self.reads, self.received, self.urgent = self.listener.accept()[0], True, b"", []
                self.ended = self.was_reset = False
                self.connection.setblocking(False)
            elif self.connection and self.connection in ready:
                self.read_connection()

    def read_tap(self):
        while True:
            try:
                frame = os.read(self.tap, 65536)
            except BlockingIOError:
                return
            at = time.monotonic()
            if frame[12:14] == b"\x08\0" and self.script.ip == 4:
                packet = frame[14:14 + struct.unpack("!H", frame[16:18])[0]]
                proto, body = packet[9], packet[(packet[0] & 15) * 4:]
            elif frame[12:14] == b"\x86\xdd" and self.script.ip == 6:
                packet = frame[14:54 + struct.unpack("!H", frame[18:20])[0]]
                proto, body = packet[6], packet[40:]
            else:
                continue
            if proto == 6:
                self.arrivals.append(Seen(at, packet).parse(body, self))
            elif proto == 1 and body[0] in (3, 11, 12) or proto == 58 and body[0] < 128:
                self.arrivals.append(Seen(at, packet, (body[0], body[1])))

    def read_connection(self, limit=1 << 20):
        try:
            at_mark = struct.unpack("i", fcntl.ioctl(self.connection, SIOCATMARK, bytes(4)))[0]
            data = self.connection.recv(limit)
            if at_mark and data:
                self.urgent.append(len(self.received) + 1)
            self.received += data
            self.ended = not data
        except BlockingIOError:
            pass
        except OSError:
            self.was_reset = True

    # From guest to kernel

    def send(self, segment):
        start = segment.start.at(self.guest_next)
        if segment.flags & SYN:
            self.guest_scales = bool(segment.options) and "wscale" in segment.options
        span = segment.length + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        if not segment.flags & RST:
            self.guest_next = max(self.guest_next, start + span)
        options = b""
        for kind, value in (segment.options or {}).items():
            if kind == "mss":
                options += struct.pack("!BBH", 2, 4, int(value))
            elif kind == "sackOK":
                options += b"\1\1\4\2"
            elif kind == "wscale":
                options += struct.pack("!BBBB", 1, 3, 3, int(value))
            elif kind == "TS":
                stamps = value.split()
                echo = self.last_stamp if stamps[3] == "*" else int(stamps[3])
                options += struct.pack("!BBBBII", 1, 1, 8, 10, int(stamps[1]), echo)
            elif kind == "sack":
                blocks = [[self.iss + Number(n).at(self.host_next) & 0xFFFFFFFF for n in block.split(":")] for block in value.split()]
                options += struct.pack("!BBBB", 1, 1, 5, 2 + 8 * len(blocks)) + b"".join(struct.pack("!II", *block) for block in blocks)
        first = start - self.guest_syn - (0 if segment.flags & SYN else 1)
        header = struct.pack(
            "!HHIIBBHHH", GUEST_PORT, REMOTE_PORT, self.script.isn + start & 0xFFFFFFFF,
            self.iss + segment.ack.at(self.host_next) & 0xFFFFFFFF if segment.ack else 0, (20 + len(options)) // 4 << 4, segment.flags,
            65535 if segment.window is None else int(segment.window), 0, segment.urgent)
        self.write(6, header + options + pattern(first, first + segment.length), 16)

    def write(self, proto, body, sum_at):
        source, destination = (socket.inet_pton(self.family, a) for a in (self.guest, self.remote))
        pseudo = b""
        if proto != 1:
            pseudo = source + destination + (struct.pack("!BBH", 0, proto, len(body)) if self.script.ip == 4 else struct.pack("!II", len(body), proto))
        total = checksum(pseudo + body)
        body = body[:sum_at] + struct.pack("!H", total) + body[sum_at + 2:]
        if self.script.ip == 4:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, proto, 0) + source + destination
            header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        else:
            header = struct.pack("!IHBB", 6 << 28, len(body), proto, 64) + source + destination
        os.write(self.tap, GATEWAY_MAC + GUEST_MAC + (b"\x08\0" if self.script.ip == 4 else b"\x86\xdd") + header + body)

    def complain(self, mtu, start):
        about = next((seen for seen in reversed(self.taken) if not seen.icmp and seen.start == start), None)
        if about is None:
            raise self.error(f"no segment at {start} has come")
        if self.script.ip == 4:
            self.write(1, struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + about.packet[:48], 2)
        else:
            self.write(58, struct.pack("!BBHI", 2, 0, 0, mtu) + about.packet[:48], 2)

    def fill(self):
        """Segments of full size while the window lasts, then what is left of it."""
        while True:
            room = self.edge - self.guest_next
            if room > 0:
                length = min(room, self.mss)
                self.send(Segment(f". @:@+{length}({length}) ack @".split(), 0, self.script))
                self.pump(time.monotonic())
            else:
                self.pump(time.monotonic() + 0.3, lambda: self.arrivals)
                if not self.arrivals:
                    break
            for seen in self.arrivals:
                if not seen.is_bare_ack:
                    raise self.error(f"{seen} is no ACK")
            self.arrivals = []
        self.base = time.monotonic()

    # Running

    def error(self, message):
        so_far = "".join(f"\n    took {seen}" for seen in self.taken[-12:])
        return ScriptError(f"{self.script.path}:{self.line}: {message}{so_far}")

    def run(self):
        for self.line, earliest, latest, verb, words, step in self.script.events:
            if verb == "guest<":
                self.expect(earliest, latest, words, step)
                continue
            if verb == "wait":
                self.nothing_is_left()
            self.pump(self.base + earliest)
            self.base = max(self.base + earliest, time.monotonic() - 0.001)
            if verb == "wait":
                self.nothing_is_left()
            elif verb == "guest>" and words == ["fills"]:
                self.fill()
            elif verb == "guest>" and words[0] == "icmp":
                self.complain(int(words[3]), Number(words[5]).at(self.host_next))
            elif verb == "guest>":
                self.send(Segment(words, step, self.script))
            elif verb == "guest":
                if not self.window_holds(words[1], self.window):
                    raise self.error(f"the window is {self.window}")
            else:
                self.host(*words)
        self.nothing_is_left()

    @staticmethod
    def window_holds(bound, window):
        return (window == 0) == (bound == "0")

    def nothing_is_left(self):
        self.arrivals = [seen for seen in self.arrivals if not self.passes_over(seen, None)]
        if self.arrivals:
            seen = self.arrivals[0]
            raise self.error(f"{seen} came {(seen.at - self.base) * 1000:.1f} ms after the line before and was not expected")

    def passes_over(self, seen, expected):
        """An ACK for part of what the next one acknowledges: how often the kernel acknowledges is its own affair."""
        return (expected is not None and seen.is_bare_ack and expected.ack is not None and self.last_ack is not None
                and self.last_ack < seen.ack < expected.ack.at(self.guest_next))

    def expect(self, earliest, latest, words, step):
        if words[0] == "icmp":
            segment = None
        else:
            segment = Segment(words, step, self.script)
        while True:
            self.pump(self.base + latest + LATE, lambda: self.arrivals)
            if not self.arrivals:
                raise self.error(f"nothing came until {(time.monotonic() - self.base) * 1000:.0f} ms")
            seen = self.arrivals.pop(0)
            if segment is None or not self.passes_over(seen, segment):
                break
        difference = self.difference(words, segment, seen)
        if difference:
            raise self.error(f"{seen}: {difference} differs")
        delay = seen.at - self.base
        early = -1 if segment and segment.is_bare_ack else earliest - EARLY
        if not early <= delay <= latest + LATE:
            raise self.error(f"{seen} came after {delay * 1000:.1f} ms")
        if segment:
            if seen.length and seen.payload != pattern(seen.start - 1, seen.start - 1 + seen.length):
                raise self.error(f"{seen}: the payload is not the host's")
            if not seen.flags & RST:
                span = seen.length + bool(seen.flags & SYN) + bool(seen.flags & FIN)
                self.host_next = max(self.host_next, seen.start + span)
            if seen.flags & ACK:
                self.last_ack = seen.ack
        self.taken.append(seen)
        self.base = max(self.base, seen.at)

    def difference(self, words, line, seen):
        if line is None or seen.icmp:
            same = line is None and seen.icmp == UNREACHABLE[self.script.ip][words[1]]
            return "" if same else "the protocol"
        start = line.start.at(self.host_next)
        if (seen.flags ^ line.flags) & ~PSH:
            return "the flags"
        if seen.start != start:
            return f"the sequence number, expected {start}"
        if seen.length != line.length:
            return "the length"
        if line.ack and seen.ack != line.ack.at(self.guest_next):
            return f"the ACK, expected {line.ack.at(self.guest_next)}"
        if line.window is not None and not self.window_holds(line.window, seen.window):
            return "the window"
        if line.urgent != seen.urgent:
            return "the urgent pointer"
        options = line.options or {}
        for kind in ("mss", "sackOK", "wscale"):
            if (kind in options) != (kind in seen.options):
                return kind
        if "mss" in options and int(options["mss"]) != seen.options["mss"]:
            return "mss"
        if line.options is not None:
            if ("TS" in options) != ("TS" in seen.options):
                return "timestamps"
            if "TS" in options:
                echo = options["TS"].split()[3]
                if echo != "*" and int(echo) != seen.options["TS"][1]:
                    return "the timestamp's echo"
        sacks = [tuple(Number(n).at(self.guest_next) for n in block.split(":")) for block in options.get("sack", "").split()]
        return "" if sacks == seen.sacks else "the SACK blocks"

    # The host's application

    def host(self, verb, *words):
        if verb == "connect":
            return
        if verb == "connects":
            self.connect()
            return
        # A connection is established by the guest's ACK and then accepted, or by its SYN-ACK.
        self.pump(time.monotonic() + 0.5, lambda: self.connection or self.was_reset)
        if self.connection is None and not self.was_reset:
            raise self.error("nobody has connected")
        if verb == "writes":
            count = int(words[0])
            sent = self.connection.send(pattern(self.written, self.written + count), socket.MSG_OOB if "urgent" in words else 0)
            if sent != count:
                raise self.error(f"the socket took {sent} bytes")
            self.written += count
        elif verb == "stops-reading":
            self.reads = False
        elif verb == "reads":
            if words[0] == "all":
                self.reads = True
                self.pump(time.monotonic() + 0.001)
            else:
                self.read_connection(int(words[0]))
        elif verb == "shuts-down":
            self.connection.shutdown(socket.SHUT_WR)
        elif verb in ("closes", "resets"):
            if verb == "resets":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.connection, self.written = None, 0
        elif verb == "has":
            self.has(*words)
        else:
            raise self.error(f"a host does not '{verb}'")

    def has(self, what, *which):
        soon = time.monotonic() + 0.2
        if what == "end":
            self.pump(soon, lambda: self.ended)
            if not self.ended:
                raise self.error("the host's stream has not ended")
        elif what == "reset":
            self.pump(soon, lambda: self.was_reset)
            if not self.was_reset:
                raise self.error("the host's connection was not reset")
        elif what == "urgent":
            which = [int(number) for number in which]
            self.pump(soon, lambda: self.urgent == which)
            if self.urgent != which:
                raise self.error(f"the host's urgent bytes are {self.urgent}")
        else:
            self.pump(soon, lambda: len(self.received) >= int(what))
            if len(self.received) != int(what):
                raise self.error(f"the host has {len(self.received)} bytes")
            if self.received != pattern(0, int(what)):
                raise self.error("the host's bytes are not the guest's")


def run(path):
    """Runs one script in this process, which is in another network namespace from then on."""
    script = Script(path)
    if script.only and script.only[0] != "linux":
        return
    Conversation(script).run()


def run_apart(path):
    """Runs one script in a process of its own: '' or what was wrong; CannotRun when the machine does not let us."""
    result = subprocess.run([sys.executable, os.path.abspath(__file__), path], capture_output=True, text=True, timeout=60)
    if result.returncode == 3:
        raise CannotRun(result.stderr.strip())
    return "" if result.returncode == 0 else result.stderr.strip() or f"exit {result.returncode}"


def main(paths):
    if len(paths) == 1:
        try:
            run(paths[0])
        except CannotRun as error:
            sys.exit(print(error, file=sys.stderr) or 3)
        except ScriptError as error:
            sys.exit(print(error, file=sys.stderr) or 1)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        wrong = [message for message in pool.map(run_apart, paths) if message]
    print("\n".join(wrong))
    print(f"{len(paths) - len(wrong)} of {len(paths)} as the kernel answers")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
