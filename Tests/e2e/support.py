"""What the tests share: one lab for all of them, and commands inside a sandbox.

PORTOLAN is the binary (default .build/release/portolan). PORTOLAN_E2E_PEER=slirp4netns puts the stand-in in its place.
"""

import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

import servers  # noqa: E402
from lab import Lab, PYTHON, until  # noqa: E402

PEER = os.environ.get("PORTOLAN_E2E_PEER", "portolan")
BINARY = os.environ.get("PORTOLAN") or os.path.join(ROOT, ".build", "release", "portolan")

if PEER == "portolan":
    GATEWAY4, GUEST4, ALIAS4, DNS4 = "10.0.2.1", "10.0.2.2", "10.0.2.254", "10.0.2.1"
    GATEWAY6, GUEST6, ALIAS6 = "fd00:706f:7274::1", "fd00:706f:7274::2", "fd00:706f:7274::fe"
else:
    GATEWAY4, GUEST4, ALIAS4, DNS4 = "10.0.2.2", "10.0.2.100", "10.0.2.2", "10.0.2.3"
    GATEWAY6, GUEST6, ALIAS6 = "fd00::2", "fd00::", "fd00::2"

_lab = None
_portolan = None

# What the Python that runs inside starts with: sockets for either family, by address.
PRELUDE = """
import errno, hashlib, os, select, socket, struct, sys, time
def family(address): return socket.AF_INET6 if ":" in address else socket.AF_INET
def tcp(address, port, timeout=15):
    s = socket.socket(family(address), socket.SOCK_STREAM)
    s.settimeout(timeout)
    s.connect((address, port))
    return s
def udp(address=None, port=0, timeout=5):
    s = socket.socket(family(address or "0.0.0.0"), socket.SOCK_DGRAM)
    s.settimeout(timeout)
    if port: s.connect((address, port))
    return s
def everything(s):
    data = b""
    while piece := s.recv(65536): data += piece
    return data
def error_of(action):
    began = time.monotonic()
    try: action()
    except OSError as error: return type(error).__name__ if not error.errno else errno.errorcode[error.errno], time.monotonic() - began
    return "none", time.monotonic() - began
"""


def lab():
    """The lab, made on first use; services.py runs in it from the start."""
    global _lab
    if _lab is None:
        _lab = Lab()
        servers.services(_lab)
    return _lab


def close():
    if _lab is not None:
        _lab.close()


def portolan():
    """The binary, copied to where an ordinary user may execute it and where no build replaces it under the tests."""
    global _portolan
    if PEER != "portolan":
        return [sys.executable, os.path.join(HERE, "standin.py")]
    if _portolan is None:
        if not os.path.exists(BINARY):
            raise unittest.SkipTest(f"there is no {BINARY}: swift build -c release --product portolan")
        _portolan = shutil.copy2(os.path.realpath(BINARY), lab().path("portolan"))
        os.chmod(_portolan, 0o755)
    return [_portolan]


def peer_description():
    if PEER != "portolan":
        return f"tested: {PEER}, as a stand-in"
    return f"tested: {BINARY}" if os.path.exists(BINARY) else f"not tested: there is no {BINARY}"


class EndToEnd(unittest.TestCase):
    """A test with the lab at hand. `inside` runs a command in a sandbox of its own; `python` a Python program."""

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.lab = lab()
        cls.command = portolan()

    def argv(self, command, *options):
        return [*self.command, "run", *options, "--", *command]

    def inside(self, command, *options, timeout=20, user=None, **keywords):
        """Runs `portolan run OPTIONS -- COMMAND` on the lab's host and returns its result."""
        return self.lab.host.run(self.argv(command, *options), timeout=timeout, user=user, **keywords)

    def succeeds(self, command, *options, **keywords):
        result = self.inside(command, *options, **keywords)
        self.assertEqual(result.code, 0, str(result))
        return result.out

    def python(self, program, *arguments, options=(), **keywords):
        """Runs a Python program inside; it has to succeed; returns what it printed, without the last newline."""
        words = [str(a) for a in arguments]
        return self.succeeds([PYTHON, "-I", "-S", "-c", PRELUDE + program, *words], *options, **keywords).rstrip("\n")

    def start(self, command, *options, **keywords):
        """Starts a sandbox that runs on; the caller stops it (`self.lab.stop`)."""
        keywords.setdefault("stdin", subprocess.PIPE)
        keywords.setdefault("stdout", subprocess.PIPE)
        keywords.setdefault("stderr", self.lab.log())
        process = self.lab.host.start(self.argv(command, *options), **keywords)
        self.addCleanup(self.lab.stop, process)
        return process

    def start_python(self, program, *arguments, options=(), **keywords):
        return self.start([PYTHON, "-I", "-S", "-u", "-c", PRELUDE + program, *map(str, arguments)], *options, text=True, **keywords)

    def need(self, *programs):
        for program in programs:
            servers.program(program)

    def real_root(self):
        if not self.lab.is_real_root:
            self.skipTest("needs real root")

    def not_the_standin(self, why="the stand-in has no such option"):
        if PEER != "portolan":
            self.skipTest(why)


def both_families(*addresses):
    """For subtests: ("IPv4", a) and ("IPv6", b)."""
    return zip(("IPv4", "IPv6"), addresses)
