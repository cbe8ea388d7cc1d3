#!/usr/bin/env python3
"""`standin.py run [--mtu N] [--map-root] [--host-loopback] -- CMD`: slirp4netns in Portolan's place.

The harness is tried on it: a test that fails with both is likely the test's own fault. Used with
PORTOLAN_E2E_PEER=slirp4netns; what slirp4netns cannot do fails there, and says nothing about Portolan.
"""

import os
import signal
import subprocess
import sys


def main(arguments):
    at = arguments.index("--")
    command = arguments[at + 1:]
    inner = 'mount --bind "$1" /etc/resolv.conf; echo ready >&3; read go <&4; shift; exec "$@" 3>&- 4<&-'
    resolv = f"/tmp/standin-resolv-{os.getpid()}"
    with open(resolv, "w") as file:
        file.write("nameserver 10.0.2.3\n")
    up_read, up_write = os.pipe()
    go_read, go_write = os.pipe()
    child = subprocess.Popen(
        ["unshare", "-Urnm", "sh", "-c", f'exec 3>&{up_write} 4<&{go_read}; {inner}', "sh", resolv, *command], pass_fds=[up_write, go_read])
    os.read(up_read, 16)
    ready_read, ready_write = os.pipe()
    slirp = subprocess.Popen(
        ["slirp4netns", "--configure", "--mtu=65520", "--enable-ipv6", f"--ready-fd={ready_write}"]
        + ([] if "--host-loopback" in arguments[:at] else ["--disable-host-loopback"]) + [str(child.pid), "tap0"],
        pass_fds=[ready_write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.read(ready_read, 1)
    os.write(go_write, b"go\n")
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    slirp.kill()
    slirp.wait()
    os.unlink(resolv)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
