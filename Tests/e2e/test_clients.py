"""Everyday clients against real servers: the issue's list, each over IPv4 and IPv6 where it applies."""

import hashlib
import json
import os
import subprocess

import servers
from lab import FAR4, FAR6, ROUTER4, ROUTER6, SERVER4, SERVER6, USER
from support import EndToEnd, GATEWAY4, GATEWAY6, both_families


def url(address, path, scheme="http", port=None):
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}{':' + str(port) if port else ''}/{path}"


class Clients(EndToEnd):
    def test_curl(self):
        """curl fetches a page by address (IPv4, IPv6) and by name"""
        self.need("curl")
        servers.nginx(self.lab), servers.dnsmasq(self.lab)
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                self.assertEqual(self.succeeds(["curl", "-sS", "-m", "10", url(address, "hello.txt")]), "hello from the server\n")
        for option in ("-4", "-6"):
            with self.subTest("by name " + option):
                out = self.succeeds(["curl", "-sS", "-m", "10", option, "http://server.lab.test/hello.txt"])
                self.assertEqual(out, "hello from the server\n")

    def test_wget(self):
        """wget downloads 10 MiB unharmed over IPv4 and IPv6"""
        self.need("wget")
        root = servers.nginx(self.lab)
        wanted = servers.sha256(os.path.join(root, "big.bin"))
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                target = self.lab.path("wget.out")
                self.succeeds(["wget", "-q", "-O", target, "--timeout=10", "--tries=1", url(address, "big.bin")])
                self.assertEqual(servers.sha256(target), wanted)

    def test_git(self):
        """git clones over git:// and http:// and ssh, IPv4 and IPv6, and has the right commit"""
        _, head = servers.git(self.lab)
        for family, address in both_families(SERVER4, SERVER6):
            for scheme in ("git", "http"):
                with self.subTest(f"{scheme} over {family}"):
                    target = self.lab.path(f"clone-{scheme}-{family}")
                    self.succeeds(["git", "clone", "-q", url(address, "project.git", scheme), target])
                    self.assertEqual(self.head(target), head)

    def test_git_over_ssh(self):
        """git clones over ssh"""
        bare, head = servers.git(self.lab)
        ssh = servers.sshd(self.lab)
        env = self.lab.environment(GIT_SSH_COMMAND="ssh " + " ".join(ssh), GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory",
                                   GIT_CONFIG_VALUE_0="*")
        self.lab.write("home/.gitconfig", "[safe]\n\tdirectory = *\n")
        target = self.lab.path("clone-ssh")
        self.succeeds(["git", "clone", "-q", f"ssh://{USER}@{SERVER4}:{servers.SSH}{bare}", target], env=env)
        self.assertEqual(self.head(target), head)

    def head(self, target):
        return subprocess.run(["git", "-C", target, "rev-parse", "HEAD"], capture_output=True, text=True,
                              env=self.lab.environment(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")).stdout.strip()

    def test_ssh(self):
        """ssh runs a command on the server and brings its exit status back, IPv4 and IPv6"""
        options = servers.sshd(self.lab)
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                result = self.inside(["ssh", *options, "-p", str(servers.SSH), f"{USER}@{address}", "id -un; exit 7"])
                self.assertEqual((result.code, result.out), (7, USER + "\n"), str(result))

    def test_scp(self):
        """scp copies a file there and back"""
        options = servers.sshd(self.lab)
        data = os.urandom(3_000_000)
        here, there, back = self.lab.write("scp-here", data), self.lab.path("home/scp-there"), self.lab.path("scp-back")
        for family, host in both_families(SERVER4, f"[{SERVER6}]"):
            with self.subTest(family):
                remote = f"{USER}@{host}:{there}"
                self.succeeds(["scp", "-q", *options, "-P", str(servers.SSH), here, remote])
                self.succeeds(["scp", "-q", *options, "-P", str(servers.SSH), remote, back])
                with open(back, "rb") as file:
                    self.assertEqual(hashlib.sha256(file.read()).digest(), hashlib.sha256(data).digest())

    def test_apt(self):
        """apt-get update and download from the lab's repository, IPv4 and IPv6"""
        self.need("apt-get")
        package = servers.apt(self.lab)
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                folder = self.lab.path(f"apt-{family}", directory=True)
                for name in ("lists/partial", "cache/archives/partial", "etc"):
                    os.makedirs(f"{folder}/{name}", exist_ok=True)
                self.lab.write(f"apt-{family}/etc/sources.list", f"deb [trusted=yes] {url(address, 'debian')} ./\n")
                self.lab.write(f"apt-{family}/status", "")
                options = [f"Dir::State::Lists={folder}/lists", f"Dir::State::status={folder}/status", f"Dir::Cache={folder}/cache",
                           f"Dir::Etc::SourceList={folder}/etc/sources.list", "Dir::Etc::SourceParts=/dev/null", "Dir::Etc::Parts=/dev/null",
                           "APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::http::Proxy=false"]
                flags = [word for option in options for word in ("-o", option)]
                script = 'cd "$1" && shift && apt-get -q "$@" update && apt-get -q "$@" download ' + package
                self.succeeds(["sh", "-ec", script, "sh", folder, *flags], timeout=40)
                self.assertTrue(os.path.exists(f"{folder}/{package}_1.0_all.deb"))

    def test_pip(self):
        """pip downloads a wheel from the lab's index, IPv4 and IPv6"""
        name = servers.pip(self.lab)
        pip = servers.pip_command()
        for family, address in both_families(SERVER4, SERVER6):
            with self.subTest(family):
                folder = self.lab.path(f"pip-{family}", directory=True)
                host = f"[{address}]" if ":" in address else address
                self.succeeds([*pip, "download", "-q", "--isolated", "--no-deps", "--no-cache-dir", "--disable-pip-version-check",
                               "--index-url", url(address, "simple/"), "--trusted-host", host, "-d", folder, name], timeout=40)
                self.assertTrue(any(entry.endswith(".whl") for entry in os.listdir(folder)))

    def test_iperf3(self):
        """iperf3 measures TCP both ways and UDP, IPv4 and IPv6"""
        port = servers.iperf3(self.lab)
        for family, address in both_families(SERVER4, SERVER6):
            for name, flags in (("TCP out", []), ("TCP in", ["-R"]), ("UDP out", ["-u", "-b", "20M"]), ("UDP in", ["-u", "-b", "20M", "-R"])):
                with self.subTest(f"{name} over {family}"):
                    out = self.succeeds(["iperf3", "-J", "-c", address, "-p", str(port), "-t", "1", *flags], timeout=15)
                    end = json.loads(out)["end"]
                    summary = end.get("sum_received") or end["sum"]
                    self.assertGreater(summary["bits_per_second"], 5e6)
                    if "lost_percent" in end.get("sum", {}):
                        self.assertLess(end["sum"]["lost_percent"], 5)


class Paths(EndToEnd):
    def test_ping(self):
        """ping reaches server, far server and gateway, IPv4 and IPv6; nobody answers for an absent host"""
        for address in (SERVER4, SERVER6, FAR4, FAR6, GATEWAY4, GATEWAY6):
            with self.subTest(address):
                out = self.succeeds(["ping", "-n", "-c", "3", "-i", "0.1", "-W", "3", address])
                self.assertIn(" 0% packet loss", out)
                self.assertNotIn("DUP", out)

    def test_ping_sizes(self):
        """ping with 0, 1472, 1473 and 20000 bytes: fragments both ways"""
        for address in (SERVER4, SERVER6):
            for size in (0, 1472, 1473, 20000):
                with self.subTest(f"{address} {size}"):
                    self.succeeds(["ping", "-n", "-c", "1", "-W", "3", "-s", str(size), address])

    def test_ping_unreachable(self):
        """ping shows the router's answer for an unreachable network"""
        from lab import UNREACHABLE4, UNREACHABLE6

        for family, address in both_families(UNREACHABLE4, UNREACHABLE6):
            with self.subTest(family):
                result = self.inside(["ping", "-n", "-c", "1", "-W", "2", address])
                self.assertEqual(result.code, 1, str(result))
                self.assertIn("nreachable", result.out, str(result))

    def test_ping_time_exceeded(self):
        """ping with a TTL of 2 is answered by the router: time exceeded"""
        for family, address in both_families(FAR4, FAR6):
            with self.subTest(family):
                result = self.inside(["ping", "-n", "-c", "1", "-W", "2", "-t", "2", address])
                self.assertRegex(result.out, "Time to live exceeded|Time exceeded", str(result))
                self.assertIn({"IPv4": ROUTER4, "IPv6": ROUTER6}[family], result.out)

    def hops(self, out):
        return [line.split()[1] for line in out.splitlines()[1:] if line.strip()]

    def test_traceroute_udp(self):
        """traceroute (UDP) shows gateway, router, server, IPv4 and IPv6"""
        self.need("traceroute")
        for address, path in ((FAR4, [GATEWAY4, ROUTER4, FAR4]), (FAR6, [GATEWAY6, ROUTER6, FAR6])):
            with self.subTest(address):
                self.assertEqual(self.hops(self.succeeds(["traceroute", "-n", "-q", "1", "-w", "2", "-m", "6", address])), path)

    def test_traceroute_icmp(self):
        """traceroute -I shows gateway, router, server, IPv4 and IPv6"""
        self.need("traceroute")
        self.real_root()
        for address, path in ((FAR4, [GATEWAY4, ROUTER4, FAR4]), (FAR6, [GATEWAY6, ROUTER6, FAR6])):
            with self.subTest(address):
                out = self.succeeds(["traceroute", "-I", "-n", "-q", "1", "-w", "2", "-m", "6", address], "--map-root")
                self.assertEqual(self.hops(out), path)
