"""DNS through the gateway: what dig sees, names of our own, the host's files followed as they change, failover."""

import time

import servers
from lab import ABSENT4, BLACKHOLE4, SECOND4, SERVER4, SERVER6, until
from support import ALIAS4, ALIAS6, DNS4, EndToEnd, GATEWAY4, GATEWAY6, PEER


class Names(EndToEnd):
    def setUp(self):
        servers.dnsmasq(self.lab)
        self.need("dig")

    def dig(self, *words, options=(), timeout=20):
        return self.succeeds(["dig", f"@{DNS4}", "+tries=2", "+time=3", *words], *options, timeout=timeout)

    def short(self, *words, **keywords):
        return sorted(self.dig("+short", *words, **keywords).splitlines())

    def test_types(self):
        """A, AAAA, CNAME, MX, SRV, TXT, CAA and PTR answers pass unchanged"""
        for words, wanted in (
                (["server.lab.test"], [SERVER4]), (["server.lab.test", "AAAA"], [SERVER6]),
                (["lab.test", "MX"], ["10 server.lab.test."]), (["_sip._tcp.lab.test", "SRV"], ["10 20 5060 server.lab.test."]),
                (["small.lab.test", "TXT"], ['"one small text"']), (["-x", "192.0.2.7"], ["reverse.lab.test."]), (["-x", "2001:db8:7::7"], ["reverse.lab.test."]),
                (["lab.test", "CAA"], ['0 issue "ca.lab.test"']), (["alias.lab.test"], [SERVER4, "server.lab.test."])):
            with self.subTest(" ".join(words)):
                self.assertEqual(self.short(*words), wanted)

    def test_tcp(self):
        """queries over TCP"""
        self.assertEqual(self.short("+tcp", "server.lab.test"), [SERVER4])

    def test_nxdomain(self):
        """NXDOMAIN and an empty answer stay what they are"""
        self.assertIn("status: NXDOMAIN", self.dig("nobody.lab.test"))
        out = self.dig("v4only.lab.test", "AAAA")
        self.assertIn("status: NOERROR", out)
        self.assertIn("ANSWER: 0", out)

    def test_refused(self):
        """the upstream's other rcodes are passed on"""
        self.assertIn("status: REFUSED", self.dig("somewhere.else"))

    def test_truncation(self):
        """a big answer is truncated over UDP without EDNS, and dig's retry over TCP gets all of it"""
        out = self.dig("+noedns", "+ignore", "big.lab.test", "TXT")
        self.assertRegex(out, r"flags:[a-z ]* tc")
        self.assertEqual(len(self.short("+noedns", "big.lab.test", "TXT")), 12)

    def test_edns(self):
        """EDNS is kept: 2.6 kB arrive in one datagram when the client says it takes 4096"""
        out = self.dig("+bufsize=4096", "+notcp", "+ignore", "big.lab.test", "TXT")
        self.assertIn("EDNS: version: 0", out)
        self.assertIn("ANSWER: 12", out)
        self.assertIn("(UDP)", out)

    def test_own_names(self):
        """gateway.internal and host.internal and its two aliases have our addresses, A and AAAA"""
        self.not_the_standin()
        for name, v4, v6 in (("gateway.internal", GATEWAY4, GATEWAY6), ("host.internal", ALIAS4, ALIAS6),
                             ("host.docker.internal", ALIAS4, ALIAS6), ("host.containers.internal", ALIAS4, ALIAS6)):
            with self.subTest(name):
                self.assertEqual(self.short(name), [v4])
                self.assertEqual(self.short(name, "AAAA"), [v6])

    def test_resolver_inside(self):
        """getaddrinfo inside uses the gateway: both families of a name"""
        out = self.python("print(*sorted({a[4][0] for a in socket.getaddrinfo('server.lab.test', 80)}))")
        self.assertEqual(out.split(), sorted([SERVER4, SERVER6]))

    def test_cache(self):
        """a repeated question is answered without asking the upstream again; an expired one is asked again"""
        self.not_the_standin("the stand-in has no cache")

        def count():
            with open(servers.dnsmasq(self.lab)) as file:
                return sum("query[A] short.lab.test" in line for line in file)

        before = count()
        self.succeeds(["sh", "-c", f"for i in 1 2 3; do dig @{DNS4} +short short.lab.test >/dev/null; done"])
        self.assertLess(count() - before, 3, "three questions in a row were all asked upstream")
        self.assertGreater(count() - before, 0)
        before = count()
        self.succeeds(["sh", "-c", f"dig @{DNS4} +short short.lab.test; sleep 1.3; dig @{DNS4} +short short.lab.test"])
        self.assertEqual(count() - before, 2, "an answer outlived its TTL of 1 s")

    def test_failover(self):
        """the first resolver is dead: the second answers, within a few seconds"""
        self.not_the_standin("the stand-in has one resolver")
        for dead in (ABSENT4, BLACKHOLE4, SECOND4 + ":5353"):
            with self.subTest(dead):
                began = time.monotonic()
                if ":" in dead:
                    out = self.short("server.lab.test", options=["--dns", dead, "--dns", SERVER4])
                else:
                    self.lab.set_resolvers([dead, SERVER4])
                    try:
                        out = self.short("server.lab.test")
                    finally:
                        self.lab.set_resolvers([SERVER4])
                self.assertEqual(out, [SERVER4])
                self.assertLess(time.monotonic() - began, 6)

    def test_option(self):
        """--dns takes the place of the host's resolvers"""
        self.not_the_standin()
        self.lab.set_resolvers([BLACKHOLE4])
        try:
            self.assertEqual(self.short("server.lab.test", options=["--dns", SERVER6]), [SERVER4])
        finally:
            self.lab.set_resolvers([SERVER4])

    def test_follows_resolv_conf(self):
        """a resolv.conf replaced while the sandbox runs is used from then on"""
        self.not_the_standin("the stand-in reads it once")
        self.lab.set_resolvers([BLACKHOLE4])
        try:
            process = self.start_python("""
print("up")
sys.stdin.readline()
for _ in range(20):
    try: print(socket.getaddrinfo("server.lab.test", 80, socket.AF_INET)[0][4][0]); break
    except OSError: time.sleep(0.2)
""")
            self.assertEqual(process.stdout.readline(), "up\n")
            self.lab.set_resolvers([SERVER4])
            process.stdin.write("go\n")
            process.stdin.flush()
            began = time.monotonic()
            self.assertEqual(process.stdout.readline(), SERVER4 + "\n")
            self.assertLess(time.monotonic() - began, 15)
        finally:
            self.lab.set_resolvers([SERVER4])

    def test_host_file(self):
        """names of the host's /etc/hosts are answered, also one that is added while the sandbox runs"""
        self.not_the_standin("the stand-in does not answer from it")
        self.lab.set_hosts("192.0.2.81 printer.house\n2001:db8::81 printer.house\n")
        try:
            self.assertEqual(self.short("printer.house"), ["192.0.2.81"])
            self.assertEqual(self.short("printer.house", "AAAA"), ["2001:db8::81"])
            process = self.start(["sh", "-c", f"echo up; read x; sleep 1; dig @{DNS4} +short lamp.house"], text=True)
            self.assertEqual(process.stdout.readline(), "up\n")
            self.lab.set_hosts("192.0.2.82 lamp.house\n")
            process.stdin.write("go\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "192.0.2.82\n")
        finally:
            self.lab.set_hosts()


class HostLoopback(EndToEnd):
    def setUp(self):
        servers.host_services(self.lab)

    def test_closed(self):
        """without --host-loopback, gateway and alias refuse at once (TCP and UDP), and one line says so"""
        self.not_the_standin("the stand-in says unreachable")
        for address in (GATEWAY4, ALIAS4, GATEWAY6, ALIAS6):
            with self.subTest(address):
                result = self.inside(["/usr/bin/python3", "-I", "-S", "-c", __import__("support").PRELUDE + """
a = sys.argv[1]
for _ in range(3): t = error_of(lambda: tcp(a, 7001, 5))
s = udp(a, 7101, 3); s.send(b"x"); u = error_of(lambda: s.recv(1))
print(t[0], u[0], t[1] + u[1] < 1)
""", address])
                self.assertEqual(result.out.strip(), "ECONNREFUSED ECONNREFUSED True", str(result))
                self.assertLessEqual(len([line for line in result.err.splitlines() if "loopback" in line]), 2, "logged again and again")

    def test_open(self):
        """with --host-loopback, host.internal is the host's loopback, TCP and UDP, IPv4 and IPv6"""
        for address in (ALIAS4, ALIAS6):
            with self.subTest(address):
                out = self.python("""
a = sys.argv[1]
t = tcp(a, 7001); t.sendall(b"tcp"); u = udp(a, 7101); u.send(b"udp")
print(t.recv(9), u.recv(9))
""", address, options=["--host-loopback"])
                self.assertEqual(out, "b'tcp' b'udp'")

    def test_by_name(self):
        """with --host-loopback, the name host.internal leads there"""
        self.not_the_standin()
        out = self.python("t = tcp(socket.gethostbyname('host.internal'), 7001); t.sendall(b'x'); print(t.recv(9))", options=["--host-loopback"])
        self.assertEqual(out, "b'x'")
