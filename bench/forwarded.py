"""The rows of bench/compare about forwarded ports: a client at the server's end of the wire, a server in the sandbox.

    client (namespace `server`)  ──▶  port of the host  ──▶  the same port in the sandbox

Each network has its own ports and is there for these rows only; *kernel* is a server on the host itself. portolan: -p; slirp4netns: add_hostfwd of its
API socket (its clients all appear as 10.0.2.2); pasta: -t.
"""

import subprocess

from lab import HOST4, until
from networks import NETWORKS, CannotMeasure

FIRST, EACH = 8100, 20


def rows(bench):
    """Measures each row for each network, one network after the other."""
    if not any(bench.wanted(key) for key in ("ports-in", "ports-out", "ports-rr", "ports-connect")):
        return
    inwards = bench.row("ports-in", "forwarded port, TCP 1 stream, client to sandbox", "Gbit/s")
    outwards = bench.row("ports-out", "forwarded port, TCP 1 stream, sandbox to client", "Gbit/s")
    median = bench.row("ports-rr", "forwarded port, request/response, median", "µs", more_is_better=False, digits=1)
    connects = bench.row("ports-connect", "forwarded port, connect, one byte there and back, close", "per s", digits=0)
    bench.turn += 1
    names = [name for name in bench.options.networks if bench.is_there(name)]
    shift = bench.turn % len(names)
    for name in names[shift:] + names[:shift]:
        first = FIRST + EACH * list(NETWORKS).index(name)
        try:
            network = NETWORKS[name](bench.lab, 1500, range(first, first + EACH))
        except (CannotMeasure, RuntimeError, OSError) as error:
            bench.miss(f"forwarded ports, {name}: {error}")
            continue
        try:
            if name != "kernel":
                bench.assert_binary(network)
            # The last port is iperf3's, the others echo.
            echo = bench.lab.start(network.enter([bench.load, "serve", str(first), str(EACH - 1)]), stdout=subprocess.PIPE, stderr=bench.lab.log())
            echo.stdout.readline()
            for row, reverse in ((inwards, False), (outwards, True)):
                bench.measure(row, network, lambda n: stream(bench, n, first + EACH - 1, reverse))
            bench.measure(median, network, lambda n: numbers(bench, "rr", first)[0])
            bench.measure(connects, network, lambda n: numbers(bench, "crr", first + 1 + bench.turn % (EACH - 2))[0])
            bench.lab.stop(echo)
        except CannotMeasure as error:
            bench.miss(f"forwarded ports, {name}: {error}")
        finally:
            network.stop()


def numbers(bench, mode, port):
    result = bench.lab.server.run([bench.load, mode, HOST4, str(port), str(bench.options.seconds)], timeout=30)
    if result.code != 0:
        raise CannotMeasure(result.err.strip()[-200:] or f"exit {result.code}")
    return [float(word) for word in result.out.split()]


def stream(bench, network, port, reverse):
    """Gbit/s received, with the host's default congestion control."""
    server = bench.lab.start(network.enter(["iperf3", "-s", "-1", "-p", str(port)]))
    try:
        if not until(lambda: str(port) in network.run(["ss", "-Hltn", f"sport = :{port}"]).out, 5):
            raise CannotMeasure("iperf3 does not listen")
        result = bench.lab.server.run(["iperf3", "-c", HOST4, "-p", str(port), "-t", str(bench.options.seconds), "-J", *(["-R"] if reverse else [])],
                                      timeout=bench.options.seconds + 12)
    finally:
        bench.lab.stop(server)
    return bench.received(result)["bits_per_second"] / 1e9
