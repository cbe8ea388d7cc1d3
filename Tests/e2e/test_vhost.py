"""`--listen vhost-user:`: a front-end in a few lines, well-behaved and hostile. A real guest on this link is in test_guests.py."""

import array
import mmap
import os
import random
import select
import socket
import struct
import subprocess

from lab import PYTHON, SERVER4, rests, until
from test_machines import Machine, Machines

(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK,
 SET_VRING_CALL, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE, REM_MEM_REG) = (1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15, 16, 18, 38)
VERSION_1, MERGEABLE, INDIRECT, EVENT_INDEX, PROTOCOL = 1 << 32, 1 << 15, 1 << 28, 1 << 29, 1 << 30
NEXT, WRITE, INDIRECT_FLAG = 1, 2, 4
SIZE, ENTRIES, GUEST, USER = 1 << 22, 64, 0x40000000, 0x7F0000000000
GATEWAY_MAC = bytes.fromhex("5e706f727401")


class FrontEnd:
    """What QEMU is to the back-end: its memory, two rings of 64, and the messages that say so. Ring 0 has 32 buffers of 4 KiB."""

    def __init__(self, path, features=VERSION_1 | MERGEABLE | INDIRECT, start=True, number=9, shared=SIZE):
        self.mac, self.address = bytes.fromhex("5254000000%02x" % number), bytes([10, 0, 2, number])
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(path)
        self.memory_fd = os.memfd_create("guest")
        self.shared = shared
        os.ftruncate(self.memory_fd, shared)
        self.memory = mmap.mmap(self.memory_fd, SIZE)
        self.features, self.available, self.used = features, [0, 0], [0, 0]
        self.kick, self.call = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)], [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        if start:
            self.start()

    def close(self):
        self.socket.close()
        self.memory.close()
        for fd in (self.memory_fd, *self.kick, *self.call):
            os.close(fd)

    def send(self, request, payload=b"", fds=(), flags=1, size=None):
        data = struct.pack("III", request, flags, len(payload) if size is None else size) + payload
        self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])

    def ask(self, request, payload=b""):
        self.send(request, payload)
        data = self.socket.recv(20)
        assert struct.unpack("III", data[:12]) == (request, 5, 8), data
        return struct.unpack("Q", data[12:])[0]

    def start(self):
        offered = self.ask(GET_FEATURES)
        assert offered & self.features == self.features, hex(offered)
        self.send(SET_OWNER)
        self.send(SET_FEATURES, struct.pack("Q", self.features | PROTOCOL))
        self.send(SET_PROTOCOL_FEATURES, struct.pack("Q", self.ask(GET_PROTOCOL_FEATURES) & 8))
        self.send(SET_MEM_TABLE, struct.pack("IIQQQQ", 1, 0, GUEST, self.shared, USER, 0), [self.memory_fd])
        for index in range(32):
            self.descriptor(0, index, self.buffer(0, index), 4096, WRITE)
            self.offer(0, index)
        for ring in range(2):
            self.send(SET_VRING_NUM, struct.pack("II", ring, ENTRIES))
            self.send(SET_VRING_BASE, struct.pack("II", ring, 0))
            self.send(SET_VRING_ADDR, struct.pack("IIQQQQ", ring, 0, USER + self.table(ring), USER + self.table(ring) + 0x2000, USER + self.table(ring) + 0x1000, 0))
            self.send(SET_VRING_CALL, struct.pack("Q", ring), [self.call[ring]])
            self.send(SET_VRING_KICK, struct.pack("Q", ring), [self.kick[ring]])
            self.send(SET_VRING_ENABLE, struct.pack("II", ring, 1))
        # An answer says that all of it was heard.
        self.ask(GET_FEATURES)

    # Descriptors at +0, available at +0x1000, used at +0x2000
    @staticmethod
    def table(ring):
        return 0x1000 + 0x4000 * ring

    @staticmethod
    def buffer(ring, index):
        return 0x20000 + 0x100000 * ring + 0x1000 * index

    def descriptor(self, ring, index, offset, length, flags=0, following=0, address=None):
        struct.pack_into("QIHH", self.memory, self.table(ring) + 16 * index, GUEST + offset if address is None else address, length, flags, following)

    def offer(self, ring, head, index=None):
        table = self.table(ring) + 0x1000
        struct.pack_into("H", self.memory, table + 4 + 2 * (self.available[ring] % ENTRIES), head)
        self.available[ring] = (self.available[ring] + 1) & 0xFFFF if index is None else index
        struct.pack_into("H", self.memory, table + 2, self.available[ring])

    def ring(self, ring):
        os.eventfd_write(self.kick[ring], 1)

    def used_index(self, ring):
        return struct.unpack_from("H", self.memory, self.table(ring) + 0x2002)[0]

    def transmit(self, frame, pieces=None, header=b"\0" * 12):
        """One frame, cut into descriptors of these lengths; waits until it has been taken."""
        data, at = header + frame, self.buffer(1, 0)
        self.memory[at:at + len(data)] = data
        lengths = pieces or [len(data)]
        for index, length in enumerate(lengths):
            self.descriptor(1, index, at, length, NEXT if index < len(lengths) - 1 else 0, index + 1)
            at += length
        wanted = (self.used_index(1) + 1) & 0xFFFF
        self.offer(1, 0)
        self.ring(1)
        return until(lambda: self.used_index(1) == wanted, 5)

    def receive(self, timeout=5):
        """The next frame, from as many buffers as it takes; they are offered again."""
        if not until(lambda: self.used_index(0) != self.used[0], timeout):
            return None
        frame, left = b"", 1
        while left:
            head, length = struct.unpack_from("II", self.memory, self.table(0) + 0x2004 + 8 * (self.used[0] % ENTRIES))
            at = self.buffer(0, head)
            data = self.memory[at:at + length]
            if not frame:
                left = struct.unpack_from("H", data, 10)[0]
                assert left > 0
            frame, left, self.used[0] = frame + data, left - 1, (self.used[0] + 1) & 0xFFFF
            self.offer(0, head)
        self.ring(0)
        return frame[12:]

    def arp(self, pieces=None, header=b"\0" * 12):
        """Whether the gateway answers."""
        if not self.transmit(b"\xff" * 6 + self.mac + bytes.fromhex("0806 0001 0800 0604 0001") + self.mac + self.address + bytes(6) + bytes([10, 0, 2, 1]),
                             pieces, header):
            return False
        while (frame := self.receive(2)) is not None:
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2":
                return frame[22:28] == GATEWAY_MAC
        return False


class VhostUser(Machines):
    def setUp(self):
        super().setUp()
        if not hasattr(os, "eventfd"):
            self.skipTest("this Python has no eventfd")
        self.socket_path = self.path("vhost")

    def front_end(self, **keywords):
        front_end = FrontEnd(self.socket_path, **keywords)
        self.addCleanup(front_end.close)
        return front_end

    def test_frames(self):
        """frames in one descriptor, in several, one byte at a time and by an indirect table; a stop says how far the ring came, and it goes on there"""
        self.serve(f"vhost-user:{self.socket_path}")
        front_end = self.front_end()
        for pieces in (None, [12, 42], [1] * 20 + [34], [30, 24]):
            self.assertTrue(front_end.arp(pieces), pieces)
        # Indirect: a table of two.
        front_end.memory[0x8000:0x8020] = struct.pack("QIHHQIHH", GUEST + front_end.buffer(1, 0), 12, NEXT, 1, GUEST + front_end.buffer(1, 0) + 12, 42, 0, 0)
        front_end.descriptor(1, 0, 0x8000, 32, INDIRECT_FLAG)
        before = front_end.used_index(1)
        front_end.offer(1, 0)
        front_end.ring(1)
        self.assertTrue(until(lambda: front_end.used_index(1) == before + 1))
        self.assertIsNotNone(front_end.receive())
        # Stopped and started again.
        self.assertEqual(front_end.ask(GET_VRING_BASE, struct.pack("II", 1, 0)) >> 32, before + 1)
        front_end.send(SET_VRING_BASE, struct.pack("II", 1, before + 1))
        front_end.send(SET_VRING_KICK, struct.pack("Q", 1), [front_end.kick[1]])
        self.assertTrue(front_end.arp())

    def test_disabled(self):
        """a ring that is disabled passes nothing and does not keep the process busy; enabled again it goes on"""
        process = self.serve(f"vhost-user:{self.socket_path}")
        front_end = self.front_end()
        self.assertTrue(front_end.arp())
        front_end.send(SET_VRING_ENABLE, struct.pack("II", 1, 0))
        front_end.ask(GET_FEATURES)
        used = front_end.used_index(1)
        front_end.offer(1, 0)
        front_end.ring(1)
        front_end.ask(GET_FEATURES)
        self.assertTrue(rests(process.pid, 0.2), "it spins")
        self.assertEqual(front_end.used_index(1), used)
        front_end.send(SET_VRING_ENABLE, struct.pack("II", 1, 1))
        self.assertTrue(until(lambda: front_end.used_index(1) == used + 1))

    def test_comes_and_goes(self):
        """front-ends come and go, the last in the middle of a message; the next is served, and a machine on another link is not touched"""
        other = self.link("qemu")
        process = self.serve(f"vhost-user:{self.socket_path}", other)
        machine = Machine(self, other, configure=(2, "2"))
        for _ in range(3):
            front_end = FrontEnd(self.socket_path)
            self.assertTrue(front_end.arp())
            front_end.socket.send(b"\1\0\0")
            front_end.close()
        self.assertTrue(self.front_end().arp())
        self.assertEqual(machine.run(["ping", "-q", "-c", "1", "-W", "5", SERVER4]).code, 0)
        descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
        for _ in range(10):
            FrontEnd(self.socket_path).close()
        self.assertTrue(until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) <= descriptors), "descriptors are lost")

    def test_hostile_rings(self):
        """chains that loop, point outside or lie, an index that jumps: the ring is left alone, the next front-end is served"""
        process = self.serve(f"vhost-user:{self.socket_path}")

        def loop(f):
            f.descriptor(1, 0, f.buffer(1, 0), 16, NEXT, 0)
            f.offer(1, 0)

        def outside(f):
            f.descriptor(1, 0, 0, 64, address=GUEST + SIZE - 8)
            f.offer(1, 0)

        def below(f):
            f.descriptor(1, 0, 0, 64, address=8)
            f.offer(1, 0)

        def overflow(f):
            f.descriptor(1, 0, 0, 0xFFFFFFFF, address=0xFFFFFFFFFFFFFFF0)
            f.offer(1, 0)

        def long(f):
            f.descriptor(1, 0, f.buffer(1, 0), 0xFFFFFFFF)
            f.offer(1, 0)

        def no_such_head(f):
            f.offer(1, 0xFFFF)

        def no_such_next(f):
            f.descriptor(1, 0, f.buffer(1, 0), 16, NEXT, 0xFFFF)
            f.offer(1, 0)

        def jump(f):
            f.offer(1, 0, index=1000)

        def to_be_written(f):
            f.descriptor(1, 0, f.buffer(1, 0), 64, WRITE)
            f.offer(1, 0)

        def nested(f):
            f.memory[0x8000:0x8010] = struct.pack("QIHH", GUEST + 0x8000, 16, INDIRECT_FLAG, 0)
            f.descriptor(1, 0, 0x8000, 16, INDIRECT_FLAG)
            f.offer(1, 0)

        def odd_table(f):
            f.descriptor(1, 0, 0x8000, 17, INDIRECT_FLAG)
            f.offer(1, 0)

        def many(f):
            for index in range(63):
                f.descriptor(1, index, f.buffer(1, 0), 65536, NEXT, index + 1)
            f.descriptor(1, 63, f.buffer(1, 0), 65536)
            f.offer(1, 0)

        for make in (loop, outside, below, overflow, long, no_such_head, no_such_next, jump, to_be_written, nested, odd_table, many):
            with self.subTest(make.__name__):
                front_end = FrontEnd(self.socket_path)
                make(front_end)
                front_end.ring(1)
                front_end.ask(GET_FEATURES)
                front_end.close()
                self.assertIsNone(process.poll())
        for seed in range(30):
            with self.subTest(f"seed {seed}"):
                dice = random.Random(seed)
                front_end = FrontEnd(self.socket_path, features=VERSION_1 | MERGEABLE | INDIRECT | dice.choice([0, EVENT_INDEX]))
                for _ in range(20):
                    at = front_end.table(dice.randrange(2)) + dice.randrange(0x3000)
                    front_end.memory[at:at + 8] = dice.randbytes(8)
                    front_end.ring(dice.randrange(2))
                front_end.ask(GET_FEATURES)
                front_end.close()
                self.assertIsNone(process.poll())
        self.assertTrue(self.front_end().arp())

    def test_hostile_messages(self):
        """messages that are none, tables without descriptors, regions that overlap or do not exist: that link ends, no other does"""
        process = self.serve(f"vhost-user:{self.socket_path}")
        witness = self.front_end()
        file = os.memfd_create("small")
        os.ftruncate(file, 4096)
        region = struct.pack("QQQQ", GUEST, SIZE, USER, 0)
        for name, request, payload, fds, keywords in (
                ("noise", 0x41414141, b"A" * 100, [], {"flags": 0x41414141}), ("too long", 5, b"", [], {"size": 1 << 30}),
                ("version 2", GET_FEATURES, b"", [], {"flags": 2}), ("a short feature set", SET_FEATURES, b"1234", [], {}),
                ("features not offered", SET_FEATURES, struct.pack("Q", 1 << 63), [], {}), ("a table without descriptors", SET_MEM_TABLE, struct.pack("II", 1, 0) + region, [], {}),
                ("a table of 1000", SET_MEM_TABLE, struct.pack("II", 1000, 0), [], {}), ("a table of too few bytes", SET_MEM_TABLE, struct.pack("II", 2, 0) + region, [file, file], {}),
                ("more than the file has", SET_MEM_TABLE, struct.pack("II", 1, 0) + region, [file], {}),
                ("a region that wraps", SET_MEM_TABLE, struct.pack("IIQQQQ", 1, 0, 2**64 - 4096, 8192, USER, 0), [file], {}),
                ("regions that overlap", SET_MEM_TABLE, struct.pack("II", 2, 0) + struct.pack("QQQQ", GUEST, 4096, USER, 0) * 2, [file, file], {}),
                ("ring 7", SET_VRING_NUM, struct.pack("II", 7, 64), [], {}), ("a huge ring", SET_VRING_NUM, struct.pack("II", 0, 1 << 20), [], {}),
                ("ring addresses of ring 9", SET_VRING_ADDR, struct.pack("IIQQQQ", 9, 0, 0, 0, 0, 0), [], {}),
                ("a kick without a descriptor", SET_VRING_KICK, struct.pack("Q", 0), [], {}), ("a kick that is a file", SET_VRING_KICK, struct.pack("Q", 0), [file], {}),
                ("thirty descriptors", SET_OWNER, b"", [file] * 30, {})):
            with self.subTest(name):
                front_end = FrontEnd(self.socket_path, start=False)
                front_end.send(request, payload, fds, **keywords)
                try:
                    front_end.ask(GET_FEATURES)
                except (AssertionError, OSError, struct.error):
                    pass
                front_end.close()
                self.assertIsNone(process.poll())
                self.assertTrue(witness.arp(), "somebody else's link")
        os.close(file)

    def test_kick_that_is_no_eventfd(self):
        """a kick of another kind, which can be watched today and not tomorrow, is refused: watched, it would end the process"""
        process = self.serve(f"vhost-user:{self.socket_path}")
        witness, front_end = self.front_end(), self.front_end(number=10)
        front_end.send(SET_VRING_ENABLE, struct.pack("II", 1, 0))
        front_end.ask(GET_VRING_BASE, struct.pack("II", 1, 0))
        given, nested = select.epoll(), [select.epoll()]
        front_end.send(SET_VRING_KICK, struct.pack("Q", 1), [given.fileno()])
        try:
            front_end.ask(GET_FEATURES)
            # As deep as epoll lets them be: one deeper is ELOOP.
            while len(nested) < 10:
                above = select.epoll()
                above.register(nested[-1])
                nested.append(above)
        except (AssertionError, OSError, struct.error):
            pass
        try:
            given.register(nested[-2 if len(nested) > 1 else -1])
            front_end.send(SET_VRING_ENABLE, struct.pack("II", 1, 1))
            front_end.ask(GET_FEATURES)
        except (AssertionError, OSError, struct.error):
            pass
        self.assertTrue(witness.arp(), "somebody else's link")
        self.assertIsNone(process.poll())

    def test_call_that_is_full(self):
        """a call whose counter is full, and whose descriptor would block, holds up nobody"""
        process = self.serve(f"vhost-user:{self.socket_path}")
        witness, front_end = self.front_end(), self.front_end(number=10)
        full = os.eventfd(0)
        self.addCleanup(os.close, full)
        os.eventfd_write(full, 2**64 - 2)
        front_end.send(SET_VRING_CALL, struct.pack("Q", 1), [full])
        front_end.ask(GET_FEATURES)
        front_end.arp()
        self.assertTrue(witness.arp())
        self.assertIsNone(process.poll())

    def test_memory_that_goes(self):
        """memory that goes from beneath running rings, refused with an answer: they stop, and nobody else is touched"""
        process = self.serve(f"vhost-user:{self.socket_path}")
        witness = self.front_end(number=10)
        elsewhere = struct.pack("IIQQQQ", 1, 0, GUEST, SIZE, USER + (1 << 32), 0)
        for name, request, payload, fds in (
                ("a table without the rings", SET_MEM_TABLE, elsewhere, 1), ("a table without its descriptors", SET_MEM_TABLE, elsewhere, 0),
                ("a region that is no stretch of its file", SET_MEM_TABLE, struct.pack("IIQQQQ", 1, 0, GUEST, SIZE, USER, SIZE), 1),
                ("the region taken away", REM_MEM_REG, struct.pack("QQQQQ", 0, GUEST, SIZE, USER, 0), 0)):
            with self.subTest(name):
                front_end = FrontEnd(self.socket_path)
                self.assertTrue(front_end.arp())
                front_end.send(request, payload, [front_end.memory_fd] * fds, flags=1 | 8)
                self.assertEqual(struct.unpack("Q", front_end.socket.recv(20)[12:])[0], 1, "it is refused")
                front_end.offer(1, 0)
                front_end.ring(1)
                front_end.ring(0)
                front_end.ask(GET_FEATURES)
                self.assertTrue(witness.arp(), "somebody else's link")
                self.assertIsNone(process.poll())
                front_end.close()

    def test_memory_that_shrinks(self):
        """a monitor that truncates the guest's memory loses its own frames only"""
        self.check_shrinking(SIZE)

    def test_more_memory_than_there_is_that_shrinks(self):
        """the same with a file of 1 TiB, nearly all of it a hole"""
        self.check_shrinking(1 << 40)

    def check_shrinking(self, shared):
        process = self.serve(f"vhost-user:{self.socket_path}")
        witness, front_end = self.front_end(), self.front_end(number=10, shared=shared)
        self.assertTrue(front_end.arp())
        front_end.offer(1, 0)
        os.ftruncate(front_end.memory_fd, 0)
        front_end.ring(1)
        front_end.ring(0)
        front_end.ask(GET_FEATURES)
        self.assertTrue(witness.arp())
        self.assertIsNone(process.poll())
