"""`portolan serve --config FILE`: the same settings as the options, and several networks in one process."""

import os
import signal
import subprocess

from lab import SERVER4, until
from test_machines import Machine, Machines


class Configuration(Machines):
    def write(self, text, name="portolan.yaml"):
        return self.lab.write(name, text)

    def start(self, text, *options):
        path = self.write(text)
        ready, signal_fd = os.pipe()
        log = open(self.lab.path("configuration.log"), "wb")
        process = self.lab.host.start([*self.command, "serve", "--config", path, "--ready-fd", str(signal_fd), *options], pass_fds=[signal_fd],
                                      stdout=log, stderr=log)
        self.addCleanup(self.lab.stop, process)
        os.close(signal_fd)
        answer = os.read(ready, 1)
        os.close(ready)
        with open(log.name) as file:
            self.assertEqual(answer, b"1", file.read())
        return process

    def said(self):
        with open(self.lab.path("configuration.log")) as file:
            return file.read()

    def test_one_network(self):
        """a file with links, subnet, a port and flags; the command line adds and wins"""
        first, second = self.link("qemu"), self.link("bess")
        self.start(f"# one\nlisten: [{first}]\nsubnet: 10.9.1.0/24\nipv6: false\nisolate: false\npublish:\n  - 13101:7\nmtu: 1400\n",
                   "--listen", second, "--subnet", "10.9.2.0/24")
        machine, other = Machine(self, first), Machine(self, second, name="other")
        for one, last in ((machine, 2), (other, 3)):
            one.ip(f"addr add 10.9.2.{last}/24 dev eth0")
            one.ip("route add default via 10.9.2.1")
            self.assertEqual(one.run(["ping", "-q", "-c", "1", "-W", "5", SERVER4]).code, 0)
        self.assertEqual(machine.run(["ping", "-q", "-c", "1", "-W", "5", "10.9.2.3"]).code, 0)
        listener = machine.start(["python3", "-c", "import socket\ns = socket.create_server(('', 7))\nprint('up', flush=True)\n"
                                  "c, a = s.accept(); c.sendall(b'inside')"], stdout=subprocess.PIPE, text=True)
        self.assertEqual(listener.stdout.readline(), "up\n")
        result = self.lab.server.run(["python3", "-c", "import socket; print(socket.create_connection(('198.51.100.1', 13101), 5).recv(9))"])
        self.assertIn("inside", result.out, str(result))

    def test_several_networks(self):
        """two networks with one subnet, a third with the default: each serves its machines, none sees another's; all stop together"""
        links = [f"qemu:{self.path(name)}" for name in ("blue", "red", "plain")]
        process = self.start("\n".join([
            "networks:", "  blue:", f"    listen: {links[0]}", "    subnet: 10.9.3.0/24", "  red:", f"    listen: {links[1]}", "    subnet: 10.9.3.0/24",
            "  plain:", f"    listen: {links[2]}"]))
        machines = [Machine(self, link, name=f"m{i}") for i, link in enumerate(links)]
        for machine, address in zip(machines, ("10.9.3.2", "10.9.3.3", "10.0.2.2")):
            machine.ip(f"addr add {address}/24 dev eth0")
            machine.ip(f"route add default via {address.rpartition('.')[0]}.1")
            self.assertEqual(machine.run(["ping", "-q", "-c", "1", "-W", "5", SERVER4]).code, 0, address)
        self.assertNotEqual(machines[0].run(["ping", "-q", "-c", "1", "-W", "1", "10.9.3.3"]).code, 0, "blue sees red")
        # A network whose machine has gone, and comes back, troubles nobody.
        machines[0].stop()
        self.assertEqual(machines[1].run(["ping", "-q", "-c", "1", "-W", "5", SERVER4]).code, 0)
        self.assertTrue(until(lambda: "blue: the machine on" in self.said()), self.said())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        for link in links:
            self.assertFalse(os.path.exists(link.partition(":")[2]), "the socket's file is left")

    def test_default_subnets_differ(self):
        """networks that name no subnet get different ones"""
        links = [f"qemu:{self.path(name)}" for name in ("one", "two")]
        self.start(f"networks: {{one: {{listen: '{links[0]}'}}, two: {{listen: '{links[1]}'}}}}")
        for link, subnet in zip(links, ("10.0.2", "10.0.3")):
            machine = Machine(self, link)
            machine.ip(f"addr add {subnet}.2/24 dev eth0")
            self.assertEqual(machine.run(["ping", "-q", "-c", "1", "-W", "5", f"{subnet}.1"]).code, 0, subnet)
            machine.stop()

    def test_mistakes(self):
        """what is wrong is told with its line, and is exit status 2"""
        for text, line, word in (
                ("listen: qemu:/tmp/x\nsubnett: 10.0.0.0/24\n", 2, "did you mean 'subnet'?"),
                ("listen: qemu:/tmp/x\nflavour: sweet\n", 2, "there is no setting 'flavour'"),
                ("listen:\n - qemu:/tmp/x\n - nonsense\n", 3, "not a link"),
                ("subnet: 10.0.0.1/24\nlisten: qemu:/tmp/x\n", 1, "the subnet's own address is"),
                ("listen: qemu:/tmp/x\nmtu: 12\n", 2, "68 to 65520"),
                ("listen: qemu:/tmp/x\nmtu: [1500, 9000]\n", 2, "one value"),
                ("listen: qemu:/tmp/x\nmtu: {a: 1}\n", 2, "not settings of its own"),
                ("listen: qemu:/tmp/x\nisolate: maybe\n", 2, "isolate"),
                ("listen: qemu:/tmp/x\npublish: 99999\n", 2, "a port is 1 to 65535"),
                ("listen: qemu:/tmp/x\nlisten: qemu:/tmp/y\n", 2, "twice"),
                ("listen: [qemu:/tmp/x\n", 2, ""),
                ("listen: qemu:/tmp/x\nnetworks:\n  a:\n    listen: qemu:/tmp/y\n", 1, "belongs to one of the networks"),
                ("networks:\n  a:\n    listen: qemu:/tmp/y\n    verbose: true\n", 4, "at the top"),
                ("networks:\n  a:\n    listen: qemu:/tmp/y\n    speed: 1\n", 4, "no setting 'speed'"),
                ("networks: []\n", 1, "networks by their names"),
                ("- a\n", 1, "settings"),
                ("mtu: 1500\n", None, "`listen`"),
                ("networks:\n  a:\n    mtu: 1500\n", None, "network a"),
                ("verbose: true\nquiet: true\nlisten: qemu:/tmp/x\n", None, "contradict")):
            with self.subTest(text):
                path = self.write(text, "wrong.yaml")
                result = self.lab.host.run([*self.command, "serve", "--config", path])
                self.assertEqual(result.code, 2, str(result))
                self.assertIn(f"wrong.yaml:{line}: " if line else "wrong.yaml: ", result.err)
                self.assertIn(word, result.err)
        result = self.lab.host.run([*self.command, "serve", "--config", "/no/such.yaml"])
        self.assertEqual(result.code, 2, str(result))
        self.assertIn("/no/such.yaml", result.err)
