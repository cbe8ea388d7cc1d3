"""Around the network: how the interface comes up, foreign namespaces, captures, what cannot start, an ordinary user."""

import os
import re
import subprocess
import time

import servers
from lab import PYTHON, SERVER4, SERVER6, UID, until
from support import EndToEnd, GATEWAY4, GATEWAY6, GUEST4, GUEST6, PEER, PRELUDE


class Interface(EndToEnd):
    def test_configured(self):
        """addresses, routes, MTU, MAC and name of the interface are those asked for"""
        self.not_the_standin()
        out = self.succeeds(["sh", "-c", "ip -o addr; ip -o link; ip route; ip -6 route"], "--subnet", "172.31.7.0/24", "--subnet6",
                            "fd12:3456::/64", "--mtu", "1400", "--mac", "52:54:00:12:34:56", "--interface", "eth7")
        for wanted in ("eth7", "172.31.7.2/24", "fd12:3456::2/64", "mtu 1400", "52:54:00:12:34:56", "default via 172.31.7.1",
                       "default via fd12:3456::1"):
            self.assertIn(wanted, out)

    def test_ipv4_only(self):
        """--no-ipv6: no IPv6 address or route but link-local, and IPv4 works"""
        self.not_the_standin()
        out = self.succeeds(["sh", "-c", f"ip -6 -o addr show scope global; ip -6 route show default; ping -q -c1 -W2 {SERVER4} >/dev/null && echo fine"],
                            "--no-ipv6")
        self.assertEqual(out, "fine\n")

    def test_dhcp_udhcpc(self):
        """an unconfigured interface gets address, router and resolver from our DHCP by busybox's udhcpc"""
        self.not_the_standin()
        self.need("udhcpc", "busybox")
        script = self.lab.write("udhcpc.sh", """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface" && ip route add default via "$router" && echo "bound $ip $mask $router $dns"
""", 0o755)
        self.dhcp(f"udhcpc -f -q -n -t 5 -i tap0 -s {script}", f"bound {GUEST4} 24 {GATEWAY4} {GATEWAY4}")

    def test_dhcp_dhclient(self):
        """an unconfigured interface gets its IPv4 address from our DHCP by ISC dhclient"""
        self.not_the_standin()
        self.need("dhclient")
        script = self.lab.write("dhclient.sh", """#!/bin/sh
[ "$reason" = PREINIT ] && ip link set "$interface" up
[ "$reason" = BOUND ] || exit 0
ip addr add "$new_ip_address/$new_subnet_mask" dev "$interface" && ip route add default via "$new_routers"
echo "bound $new_ip_address $new_routers $new_domain_name_servers"
""", 0o755)
        folder = self.lab.path("dhclient", directory=True)
        self.dhcp(f"dhclient -1 -v -cf /dev/null -lf {folder}/leases -pf {folder}/pid -sf {script} tap0; kill $(cat {folder}/pid) 2>/dev/null",
                  f"bound {GUEST4} {GATEWAY4} {GATEWAY4}")

    def dhcp(self, client, wanted):
        command = f"ip link set tap0 up; ip -4 -o addr show dev tap0; {client} 2>&1; ping -q -c1 -W3 {SERVER4} && echo reached"
        result = self.inside(["sh", "-c", command], "--no-configure", "--map-root", timeout=30)
        self.assertIn(wanted, result.out, str(result))
        self.assertIn("reached", result.out, str(result))

    def test_dhcpv6(self):
        """an unconfigured interface gets an IPv6 address from our DHCPv6 by dhclient -6"""
        self.not_the_standin()
        self.need("dhclient")
        script = self.lab.write("dhclient6.sh", """#!/bin/sh
# dhclient binds to the link-local address, which is tentative until duplicate address detection is through.
[ "$reason" = PREINIT6 ] && ip link set "$interface" up && for i in $(seq 100); do
    ip -6 -o addr show dev "$interface" scope link | grep -v tentative | grep -q fe80 && break; sleep 0.1; done
[ "$reason" = BOUND6 ] && echo "bound $new_ip6_address $new_dhcp6_name_servers"
exit 0
""", 0o755)
        folder = self.lab.path("dhclient6", directory=True)
        command = (f"ip link set tap0 up; timeout 15 dhclient -6 -1 -v -cf /dev/null -lf {folder}/leases -pf {folder}/pid -sf {script} tap0 2>&1; "
                   f"kill $(cat {folder}/pid) 2>/dev/null")
        result = self.inside(["sh", "-c", command], "--no-configure", "--map-root", timeout=30)
        self.assertIn(f"bound {GUEST6}", result.out, str(result))

    def test_slaac(self):
        """an unconfigured interface gets an IPv6 address and a router from our router advertisements"""
        self.not_the_standin()
        command = ("ip link set tap0 up; for i in $(seq 80); do ip -6 -o addr show dev tap0 scope global -tentative | grep -q inet6 && break; sleep 0.1; done;"
                   f"ip -6 -o addr show dev tap0; ip -6 route; ping -q -c1 -W3 {SERVER6} && echo reached")
        result = self.inside(["sh", "-c", command], "--no-configure", "--map-root", timeout=30)
        self.assertIn("fd00:706f:7274:", result.out, str(result))
        self.assertRegex(result.out, "default via fe80::")
        self.assertIn("reached", result.out, str(result))


class Attach(EndToEnd):
    def setUp(self):
        self.not_the_standin("the stand-in runs, it does not attach")

    def attach(self, target, *options):
        """Starts `portolan attach`, waits for its ready byte, returns the process."""
        ready, signal = os.pipe()
        process = self.lab.host.start([*self.command, "attach", "--ready-fd", str(signal), *options, str(target)], pass_fds=[signal],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.close(signal)
        self.addCleanup(self.lab.stop, process)
        byte = os.read(ready, 1)
        os.close(ready)
        if byte != b"1":
            self.fail(f"attach ended with {process.wait(5)}: {process.stdout.read().decode()}")
        return process

    def fetch(self, enter):
        """Echo over TCP in both families, from inside."""
        program = PRELUDE + """
for a in sys.argv[1:]:
    s = tcp(a, 7001); s.sendall(b"hi"); print(s.recv(2).decode())
"""
        result = self.lab.host.run([*enter, PYTHON, "-I", "-S", "-c", program, SERVER4, SERVER6])
        self.assertEqual(result.out, "hi\nhi\n", str(result))

    def gone(self, process):
        """The process ends by itself soon, with status 0."""
        try:
            self.assertEqual(process.wait(8), 0)
        except subprocess.TimeoutExpired:
            self.fail("portolan is still there 8 s after its namespace went away")

    def test_process(self):
        """attach to a process of `unshare -Urn`; it ends when the namespace goes away"""
        holder = self.lab.host.start(["unshare", "-Urn", "sh", "-c", "echo up; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        portolan = self.attach(holder.pid)
        self.fetch(["nsenter", "-t", str(holder.pid), "-U", "-n", "--preserve-credentials"])
        holder.stdin.close()
        self.lab.stop(holder)
        self.gone(portolan)

    def test_named(self):
        """attach to a namespace of `ip netns`, by path; it ends when that is deleted; SIGTERM ends it too"""
        self.lab.host.check(["ip", "netns", "add", "blue"])
        self.lab.host.check(["ip", "netns", "exec", "blue", "ip", "link", "set", "lo", "up"])
        first = self.attach("/run/netns/blue")
        self.fetch(["ip", "netns", "exec", "blue"])
        self.assertEqual(self.lab.stop(first), 0, "status after SIGTERM")
        left = self.lab.host.check(["ip", "netns", "exec", "blue", "ip", "-o", "link"])
        self.assertNotIn("tap0", left)
        second = self.attach("/run/netns/blue")
        self.fetch(["ip", "netns", "exec", "blue"])
        self.lab.host.check(["ip", "netns", "delete", "blue"])
        self.gone(second)

    def test_bubblewrap(self):
        """attach to a bubblewrap sandbox with --unshare-net"""
        self.need("bwrap")
        holder = self.lab.host.start(["bwrap", "--dev-bind", "/", "/", "--unshare-user", "--unshare-net", "sh", "-c", "echo up; exec cat"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.lab.stop, holder)
        self.assertEqual(holder.stdout.readline(), b"up\n")
        pid = until(lambda: self.leaf(holder.pid, "cat"))
        portolan = self.attach(pid)
        self.fetch(["nsenter", "-t", str(pid), "-U", "-n", "--preserve-credentials"])
        holder.stdin.close()
        self.gone(portolan)

    def leaf(self, pid, name):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as children:
                for child in children.read().split():
                    if found := self.leaf(int(child), name):
                        return found
        with open(f"/proc/{pid}/comm") as comm:
            return pid if comm.read().strip() == name else None

    def test_no_such_target(self):
        """attach to what is not there: one sentence, status 125"""
        for target in ("999999999", "/run/netns/nowhere"):
            with self.subTest(target):
                result = self.lab.host.run([*self.command, "attach", target])
                self.assertIn(result.code, (2, 125), str(result))
                self.assertEqual(len(result.err.strip().splitlines()), 1, str(result))


class CannotStart(EndToEnd):
    def setUp(self):
        self.not_the_standin("the stand-in has its own ways")

    def sentence(self, result, code, *words):
        self.assertEqual(result.code, code, str(result))
        self.assertEqual(result.out, "", "nothing may run")
        for word in words:
            self.assertIn(word, result.err, str(result))

    def test_bad_options(self):
        """a bad option or value: status 2, and the message names it"""
        for options, word in ((["--no-such-thing"], "no-such-thing"), (["--mtu", "12"], "mtu"), (["--busy-poll", "5000"], "busy-poll"), (["--mtu", "lots"], "mtu"), (["--subnet", "10.0.2.0"], "subnet"),
                              (["--subnet", "10.0.2.7/24"], "subnet"), (["--subnet6", "fd00::/48"], "subnet6"), (["--mac", "01:00:5e:00:00:01"], "mac"),
                              (["--interface", "a-name-that-is-too-long"], "interface"), (["--dns", "server.lab.test"], "dns"), (["--ready-fd", "-3"], "ready-fd")):
            with self.subTest(" ".join(options)):
                self.sentence(self.inside(["echo", "ran"], *options), 2, word)

    def test_no_command(self):
        """no command, no target, an unknown subcommand: status 2"""
        for words in (["run"], ["run", "--"], ["attach"], ["sail"]):
            with self.subTest(" ".join(words)):
                self.assertEqual(self.lab.host.run([*self.command, *words]).code, 2)

    def test_missing_tun(self):
        """without a usable /dev/net/tun: status 125, and the sentence names the device"""
        result = self.lab.host.run(["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/net/tun; exec "$@"', "sh", *self.argv(["echo", "ran"])])
        self.sentence(result, 125, "/dev/net/tun")
        result = self.lab.host.run(["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net; exec "$@"', "sh", *self.argv(["echo", "ran"])])
        self.sentence(result, 125, "/dev/net/tun")

    def test_collision(self):
        """a subnet that the host itself uses: status 125, naming subnet and option"""
        for options, word in ((["--subnet", "198.51.100.0/24"], "--subnet"), (["--subnet", "198.51.0.0/16"], "--subnet"),
                              (["--subnet6", "2001:db8:1::/64"], "--subnet6")):
            with self.subTest(" ".join(options)):
                self.sentence(self.inside(["echo", "ran"], *options), 125, options[1], word)

    def test_no_user_namespaces(self):
        """user namespaces switched off: status 125, and the sentence says so"""
        self.real_root()
        # The limit belongs to a user namespace: in one of its own, nobody else notices.
        holder = self.lab.host.start(["unshare", "--user", "sh", "-c", "echo up; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.lab.stop, holder)
        holder.stdout.readline()
        for kind in ("uid", "gid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as mapping:
                mapping.write("0 0 10000\n")
        script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --reuid=4242 --regid=4242 --clear-groups "$@"'
        result = self.lab.host.run(["nsenter", "-t", str(holder.pid), "-U", "-S", "0", "-G", "0", "sh", "-c", script, "sh", *self.argv(["echo", "ran"])])
        self.sentence(result, 125, "user namespace")


class Captures(EndToEnd):
    # As uid 0 it would change to a user of its own, which a user namespace does not let it do: be nobody in particular.
    TCPDUMP = ["unshare", "--user", "tcpdump"]

    def test_capture(self):
        """--capture writes a file that tcpdump reads: a DNS query, the handshake and its data are in it"""
        self.not_the_standin()
        self.need("tcpdump")
        servers.nginx(self.lab), servers.dnsmasq(self.lab)
        path = self.lab.path("out.pcap")
        self.succeeds(["curl", "-sS", "-4", "http://server.lab.test/big.bin", "-o", "/dev/null"], "--capture", path)
        out = self.lab.run([*self.TCPDUMP, "-nn", "-r", path]).out
        self.assertRegex(out, r"A\? server\.lab\.test")
        self.assertRegex(out, rf"{re.escape(GUEST4)}\.\d+ > {re.escape(SERVER4)}\.80: Flags \[S\]")
        answer = re.search(rf"{re.escape(SERVER4)}\.80 > {re.escape(GUEST4)}\.\d+: Flags \[S\.\].*", out)
        for option in ("mss 1460", "sackOK", "TS val", "wscale"):
            self.assertIn(option, answer.group(0) if answer else "no SYN-ACK", "options of the SYN-ACK")
        packets = self.lab.run([*self.TCPDUMP, "-nn", "-r", path, "src", SERVER4, "and", "tcp"]).out
        self.assertGreaterEqual(sum(int(n) for n in re.findall(r"length (\d+)", packets)), 10 << 20)


class OrdinaryUser(EndToEnd):
    def setUp(self):
        # The machine's /dev/net/tun is root's here; the lab's host has a device of its own with mode 666, as udev sets it.
        self.real_root()
        self.not_the_standin()

    def test_main_job(self):
        """an ordinary user (lab's own /dev/net/tun has mode 666): curl by name, ping, and its own uid inside"""
        servers.nginx(self.lab), servers.dnsmasq(self.lab)
        out = self.succeeds(["sh", "-ec", f"id -u; curl -sS -m 10 http://server.lab.test/hello.txt; ping -q -c1 -W3 {SERVER4} >/dev/null; touch \"$HOME/mine\""],
                            user=True)
        self.assertEqual(out, f"{UID}\nhello from the server\n")
        self.assertEqual(os.stat(os.path.join(self.lab.home, "mine")).st_uid, UID)

    def test_map_root(self):
        """--map-root: uid 0 inside, files outside are the user's"""
        out = self.succeeds(["sh", "-ec", 'id -u; touch "$HOME/mine-too"'], "--map-root", user=True)
        self.assertEqual(out, "0\n")
        self.assertEqual(os.stat(os.path.join(self.lab.home, "mine-too")).st_uid, UID)

    def test_attach(self):
        """an ordinary user attaches to its own `unshare -Urn`"""
        holder = self.lab.host.start(["unshare", "-Urn", "sh", "-c", "echo up; exec cat"], user=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.lab.stop, holder)
        holder.stdout.readline()
        ready, signal = os.pipe()
        process = self.lab.host.start([*self.command, "attach", "--ready-fd", str(signal), str(holder.pid)], user=True, pass_fds=[signal])
        self.addCleanup(self.lab.stop, process)
        os.close(signal)
        self.assertEqual(os.read(ready, 1), b"1")
        os.close(ready)
        result = self.lab.host.run(["nsenter", "-t", str(holder.pid), "-n", "ping", "-q", "-c1", "-W3", SERVER4])
        self.assertEqual(result.code, 0, str(result))

    def test_tun_closed(self):
        """an ordinary user who may not open /dev/net/tun: status 125 and a sentence that names it"""
        argv = self.lab.host.argv(self.argv(["echo", "ran"]), user=True)
        enter, rest = argv[:argv.index("setpriv")], argv[argv.index("setpriv"):]
        script = 'mount -t tmpfs -o mode=755 none /dev/net; mknod -m 600 /dev/net/tun c 10 200; exec "$@"'
        result = self.lab.run([*enter, "unshare", "--mount", "sh", "-c", script, "sh", *rest])
        self.assertEqual((result.code, result.out), (125, ""), str(result))
        self.assertIn("/dev/net/tun", result.err)
