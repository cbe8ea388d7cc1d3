"""The networks that bench/compare puts side by side. Each gives a sandbox (a user and a network namespace made by an
ordinary user) its way out, in its own way, to the same server behind the same veth pair:

    portolan      `portolan run`
    slirp4netns   Debian's, --configure
    pasta         Debian's passt package, --config-net; as an ordinary user, since it refuses to be root
    kernel        no sandbox: the load runs on the host itself, one veth pair from the server. The limit for this path.
"""

import json
import os
import socket
import subprocess

from lab import PYTHON, UID, until

BINARIES = {}


class CannotMeasure(Exception):
    """Why a network or a row is missing from the table."""


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


class Network:
    """One running network. `enter(command)` is the command line that runs inside; `proxies()` the pids that carry it. `ports`: a range of TCP
    ports of all the host's addresses that lead to the same ports inside."""

    name = dns = None
    program = None

    def __init__(self, lab, mtu, ports=range(0)):
        self.lab, self.mtu, self.ports, self.processes = lab, mtu, ports, []
        self.start()

    def start_in_host(self, command, **keywords):
        process = self.lab.host.start(command, user=True, **keywords)
        self.processes.append(process)
        return process

    def sandbox(self, prefix=()):
        """A process in new namespaces that waits on its stdin; sets `self.pid` to it."""
        process = self.start_in_host([*prefix, "sh", "-c", "echo ready; exec cat >/dev/null"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.lab.log(), text=True)
        if process.stdout.readline().strip() != "ready":
            raise CannotMeasure(f"{self.name} did not start: {read(self.lab.path('servers.log'))[-300:]}")
        # The command's own pid says nothing where it has a PID namespace: look for what it became.
        leaf = until(lambda: [pid for pid in descendants(process.pid) if read(f"/proc/{pid}/comm").strip() == "cat"], 5)
        if not leaf:
            raise CannotMeasure(f"{self.name}: its command is not there")
        self.pid = leaf[0]
        return process

    def enter(self, command):
        return ["nsenter", "-t", str(self.pid), "-n", "--", *command]

    def run(self, command, timeout=30):
        return self.lab.run(self.enter(command), timeout=timeout)

    def proxies(self):
        return []

    def cpu(self):
        """CPU seconds used so far by the proxy's processes."""
        ticks = 0
        for pid in self.proxies():
            fields = read(f"/proc/{pid}/stat").rsplit(")", 1)[-1].split()
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """(Rss, Pss) in KiB of the proxy's processes."""
        rss = pss = 0
        for pid in self.proxies():
            for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
                rss += int(line.split()[1]) if line.startswith("Rss:") else 0
                pss += int(line.split()[1]) if line.startswith("Pss:") else 0
        return rss, pss

    def stop(self):
        for process in reversed(self.processes):
            self.lab.stop(process)
        self.processes = []


def descendants(pid):
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task") if os.path.isdir(f"/proc/{pid}/task") else []:
        for child in read(f"/proc/{pid}/task/{task}/children").split():
            found += descendants(int(child))
    return found


def executable(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


class Portolan(Network):
    name, dns = "portolan", "10.0.2.1"

    def start(self):
        forward = ["-p", f"{self.ports[0]}-{self.ports[-1]}:{self.ports[0]}-{self.ports[-1]}"] if self.ports else []
        self.process = self.sandbox([BINARIES["portolan"], "run", "--mtu", str(self.mtu), *forward, "--"])

    def proxies(self):
        return [pid for pid in descendants(self.process.pid) if executable(pid) == BINARIES["portolan"]]

    @staticmethod
    def startup(_):
        return [BINARIES["portolan"], "run", "--", "true"]


class Slirp(Network):
    name, dns = "slirp4netns", "10.0.2.3"

    def start(self):
        self.sandbox(["unshare", "-Urn"])
        ready, signal = os.pipe()
        os.set_inheritable(signal, True)
        api = os.path.join(self.lab.home, f"slirp-{self.pid}.sock")
        self.proxy = self.start_in_host(
            [BINARIES["slirp4netns"], "--configure", f"--mtu={self.mtu}", f"--ready-fd={signal}", f"--api-socket={api}", str(self.pid), "tap0"],
            pass_fds=[signal])
        os.close(signal)
        if os.read(ready, 1) != b"1":
            raise CannotMeasure("slirp4netns did not get ready")
        os.close(ready)
        for port in self.ports:
            self.forward(api, port)

    @staticmethod
    def forward(api, port):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(api)
            control.sendall(json.dumps({"execute": "add_hostfwd", "arguments": {
                "proto": "tcp", "host_addr": "0.0.0.0", "host_port": port, "guest_addr": "10.0.2.100", "guest_port": port}}).encode())
            control.shutdown(socket.SHUT_WR)
            answer = control.recv(4096).decode()
        if "error" in answer:
            raise CannotMeasure(f"slirp4netns: {answer}")

    def proxies(self):
        return [self.proxy.pid]

    @staticmethod
    def startup(lab):
        # What a caller has to do: a namespace, slirp4netns on it, wait until it is ready, run the command.
        return [PYTHON, "-I", "-S", lab.write("slirp-start.py", f"""
import os, subprocess
child = subprocess.Popen(["unshare", "-Urn", "sh", "-c", "echo; read x; exec true"], stdin=-1, stdout=-1)
child.stdout.readline()
ready, signal = os.pipe()
slirp = subprocess.Popen([{BINARIES['slirp4netns']!r}, "--configure", "--ready-fd=%d" % signal, str(child.pid), "tap0"],
                         pass_fds=[signal], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.read(ready, 1)
child.stdin.close()
child.wait()
slirp.kill()
slirp.wait()
""")]


class Pasta(Network):
    name, dns = "pasta", "198.51.100.53"
    OPTIONS = ["--config-net", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"]

    def start(self):
        self.sandbox(["unshare", "-Urn"])
        self.proxy = self.start_in_host(
            [BINARIES["pasta"], "-f", "-q", *self.OPTIONS, "-t", f"{self.ports[0]}-{self.ports[-1]}" if self.ports else "none", "-m", str(self.mtu), "--dns-forward", self.dns, str(self.pid)])

        def ready():
            if self.proxy.poll() is not None:
                raise CannotMeasure(f"pasta ended: {read(self.lab.path('servers.log'))[-300:]}")
            return "198.51.100.1" in self.run(["ip", "-4", "addr"]).out and "default" in self.run(["ip", "route"]).out

        if not until(ready, 5):
            raise CannotMeasure("pasta did not configure its namespace")

    def proxies(self):
        return [pid for pid in descendants(self.proxy.pid)]

    @staticmethod
    def startup(_):
        return [BINARIES["pasta"], *Pasta.OPTIONS, "-t", "none", "--", "true"]


class Kernel(Network):
    name, dns = "kernel", "198.51.100.2"

    def start(self):
        self.pid = self.lab.host.pid

    @staticmethod
    def startup(_):
        return ["unshare", "-Urn", "true"]


NETWORKS = {network.name: network for network in (Portolan, Slirp, Pasta, Kernel)}
