"""Real servers from Debian, started in a namespace of the lab on first use and ended with it.

Each function takes the lab and returns what a test needs to know (a port, a path). All listen on every address of the
server, IPv4 and IPv6. A missing program is reported by name through `Missing`, and the test that wanted it is skipped.
"""

import base64
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile

from lab import PYTHON, SECOND4, SECOND6, SERVER4, SERVER6, FAR4, FAR6, UID, USER

HTTP, GIT, SSH, IPERF, DNS = 80, 9418, 2222, 5201, 53


class Missing(Exception):
    """A program that a server is made of is not installed, or cannot run here; the text says which."""


def program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/git-core")
    if path is None:
        raise Missing(f"{name} is not installed")
    return path


def once(start):
    """One server of a kind per lab: the second call returns what the first did."""

    @functools.wraps(start)
    def wrapper(lab):
        kept = lab.__dict__.setdefault("servers", {})
        if start.__name__ not in kept:
            try:
                kept[start.__name__] = start(lab)
            except Missing as missing:
                kept[start.__name__] = missing
        if isinstance(kept[start.__name__], Missing):
            raise kept[start.__name__]
        return kept[start.__name__]

    return wrapper


def allow_low_ports(lab):
    lab.server.check(["sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0"])


@once
def services(lab):
    """services.py on the server's addresses."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "services.py")
    addresses = [SERVER4, SERVER6, SECOND4, SECOND6] + ([FAR4, FAR6] if lab.router else [])
    process = lab.server.start([PYTHON, script] + addresses, stdout=subprocess.PIPE, stderr=lab.log())
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError("services.py did not start")
    return process


@once
def host_services(lab):
    """services.py on the loopback of the host: what --host-loopback opens."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "services.py")
    process = lab.host.start([PYTHON, script, "127.0.0.1", "::1"], stdout=subprocess.PIPE, stderr=lab.log())
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError("services.py did not start on the host's loopback")
    return process


@once
def nginx(lab):
    """A web server on port 80; returns its root. Serves hello.txt and 10 MiB of big.bin."""
    root = lab.path("www", directory=True)
    lab.write("www/hello.txt", "hello from the server\n")
    lab.write("www/big.bin", os.urandom(1 << 20) * 10)
    temporary = lab.path("nginx", directory=True)
    os.chmod(temporary, 0o777)
    config = lab.write("nginx.conf", f"""
user root root; daemon off; master_process off; pid {temporary}/pid; error_log {temporary}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/octet-stream; types {{ text/html html; text/plain txt; }}
  client_body_temp_path {temporary}/body; proxy_temp_path {temporary}/proxy; fastcgi_temp_path {temporary}/fcgi;
  uwsgi_temp_path {temporary}/uwsgi; scgi_temp_path {temporary}/scgi;
  server {{ listen 80; listen [::]:80; root {root}; autoindex on; }}
}}
""")
    process = lab.server.start([program("nginx"), "-e", f"{temporary}/error.log", "-c", config])
    lab.server.wait_listening(80, process=process)
    return root


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@once
def iperf3(lab):
    process = lab.server.start([program("iperf3"), "-s", "-p", str(IPERF)])
    lab.server.wait_listening(IPERF, process=process)
    return IPERF


RECORDS = f"""
no-resolv
no-hosts
no-daemon
user=root
bind-dynamic
cache-size=1000
local-ttl=60
edns-packet-max=4096
local=/lab.test/
auth-ttl=60
host-record=server.lab.test,{SERVER4},{SERVER6}
host-record=far.lab.test,{FAR4},{FAR6}
host-record=v4only.lab.test,{SERVER4}
host-record=short.lab.test,{SERVER4},1
cname=alias.lab.test,server.lab.test
mx-host=lab.test,server.lab.test,10
srv-host=_sip._tcp.lab.test,server.lab.test,5060,10,20
txt-record=small.lab.test,"one small text"
ptr-record=7.2.0.192.in-addr.arpa,reverse.lab.test
ptr-record=7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa,reverse.lab.test
caa-record=lab.test,0,issue,ca.lab.test
"""


@once
def dnsmasq(lab):
    """An authoritative server for lab.test; returns the path of the file that logs the queries it saw."""
    big = "\n".join(f'txt-record=big.lab.test,"{i:03d} {"x" * 200}"' for i in range(12))
    many = "\n".join(f"host-record=many.lab.test,192.0.2.{i}" for i in range(1, 41))
    queries = lab.path("dns-queries.log")
    config = lab.write("dnsmasq.conf", f"{RECORDS}pid-file={lab.path('dnsmasq.pid')}\n{big}\n{many}\nlog-queries\n")
    # no-daemon: it logs to stderr and does not try to become another user, which a user namespace forbids.
    with open(queries, "a") as log:
        process = lab.server.start([program("dnsmasq"), "--conf-file=" + config], stdout=log, stderr=log)
    lab.server.wait_listening(53, "udp", process=process)
    lab.server.wait_listening(53, "tcp", process=process)
    return queries


@once
def sshd(lab):
    """OpenSSH on port 2222 for the lab's user; returns the options a client needs (for root; the user's key is
    `ssh/client-sailor`)."""
    if not lab.is_real_root:
        raise Missing("sshd needs real root to switch to the test's user")
    folder = lab.path("ssh", directory=True)
    for key in ("host", "client"):
        subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{key}"], check=True)
    # Ssh wants its key to be the caller's own: one copy for root, one for the user.
    shutil.copy(f"{folder}/client", f"{folder}/client-{USER}")
    os.chown(f"{folder}/client-{USER}", UID, UID)
    shutil.copy(f"{folder}/client.pub", f"{folder}/authorized")
    os.chmod(f"{folder}/authorized", 0o644)
    config = lab.write("ssh/config", f"""
Port {SSH}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
UsePAM no
PasswordAuthentication no
StrictModes no
AcceptEnv *
Subsystem sftp internal-sftp
""")
    sftp = "/run/sshd"
    lab.server.check(["mkdir", "-p", sftp])
    process = lab.server.start([program("sshd"), "-D", "-e", "-f", config])
    lab.server.wait_listening(SSH, process=process)
    return ["-F", "/dev/null", "-i", f"{folder}/client", "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"]


@once
def git(lab):
    """A repository served by git-daemon and by nginx (dumb HTTP); returns (bare repository's path, head commit)."""
    web = nginx(lab)
    work, bare = lab.path("git-work"), os.path.join(web, "project.git")
    env = lab.environment(GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@lab.test", GIT_COMMITTER_NAME="a",
                          GIT_COMMITTER_EMAIL="a@lab.test")

    def run(*command, cwd=None):
        return subprocess.run([program("git"), *command], cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout

    run("init", "-q", "-b", "main", work)
    for number in range(20):
        lab.write(f"git-work/file{number}", os.urandom(20000))
    run("add", ".", cwd=work)
    run("commit", "-q", "-m", "Twenty files", cwd=work)
    run("clone", "-q", "--bare", work, bare)
    run("update-server-info", cwd=bare)
    process = lab.server.start([program("git"), "daemon", "--export-all", "--reuseaddr", f"--base-path={web}", "--listen=0.0.0.0",
                                "--listen=::", web])
    lab.server.wait_listening(GIT, process=process)
    return bare, run("rev-parse", "HEAD", cwd=work).strip()


@once
def apt(lab):
    """A Debian repository of one package under http://SERVER/debian; returns the package's name."""
    web = nginx(lab)
    tree = lab.path("deb/portolan-lab-hello", directory=True)
    lab.write("deb/portolan-lab-hello/DEBIAN/control", "Package: portolan-lab-hello\nVersion: 1.0\nArchitecture: all\n"
              "Maintainer: Lab <lab@lab.test>\nDescription: a package for the lab\n")
    lab.write("deb/portolan-lab-hello/usr/share/portolan-lab-hello/data", os.urandom(1 << 18))
    os.makedirs(os.path.join(web, "debian"), exist_ok=True)
    deb = os.path.join(web, "debian", "portolan-lab-hello_1.0_all.deb")
    os.chmod(tree, 0o755)
    os.chmod(os.path.join(tree, "DEBIAN"), 0o755)
    subprocess.run([program("dpkg-deb"), "--build", "--root-owner-group", "-Zgzip", tree, deb], check=True, capture_output=True)
    with open(deb, "rb") as file:
        data = file.read()
    with open(os.path.join(tree, "DEBIAN/control")) as file:
        packages = file.read() + f"Filename: ./{os.path.basename(deb)}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"
    lab.write("www/debian/Packages", packages)
    lab.write("www/debian/Release", "Origin: lab\nSuite: lab\nDate: Tue, 24 Nov 2026 00:00:00 UTC\nSHA256:\n"
              f" {hashlib.sha256(packages.encode()).hexdigest()} {len(packages.encode())} Packages\n")
    return "portolan-lab-hello"


@once
def pip(lab):
    """A simple index (PEP 503) with one wheel under http://SERVER/simple; returns the project's name."""
    nginx(lab)
    name, dist = "portolan_lab_wheel-1.0-py3-none-any.whl", "portolan_lab_wheel-1.0.dist-info"
    wheel = os.path.join(lab.path("www/simple/portolan-lab-wheel", directory=True), name)
    files = {"portolan_lab_wheel.py": b"answer = 42\n",
             f"{dist}/METADATA": b"Metadata-Version: 2.1\nName: portolan-lab-wheel\nVersion: 1.0\n",
             f"{dist}/WHEEL": b"Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
                     for path, data in files.items()) + f"{dist}/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{dist}/RECORD", record)
    lab.write("www/simple/portolan-lab-wheel/index.html",
              f'<!DOCTYPE html><html><body><a href="{name}#sha256={sha256(wheel)}">{name}</a></body></html>')
    return "portolan-lab-wheel"


def pip_command():
    for python in (sys.executable, PYTHON):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return [python, "-m", "pip"]
    raise Missing("pip is not installed for this Python")
