"""Small TCP and UDP services for the tests, run in the lab's `server` (and on the host's loopback) as one process.

    services.py ADDRESS...      serves the ports below on each address; prints `ready` when all are bound

    TCP 7001 echo       sends back what it gets; on the client's FIN sends its own
        7002 digest     reads to the FIN, then answers "SHA256 COUNT\\n" (so the client must half-close)
        7003 source     reads "COUNT\\n", sends COUNT bytes of the stream, then its FIN, and reads on to the client's
        7004 half       sends "hello\\n" and its FIN at once, reads to the client's FIN, keeps what came for 7005
        7005 last       answers what 7004 or 7007 saw last
        7006 reset      reads one line, then closes with SO_LINGER 0: an RST
        7007 watch      reads until the connection fails; keeps the error's name for 7005
        7008 stall      accepts and reads nothing for 30 s
        7010 who        answers "ADDRESS PORT\\n" of the peer it sees
        7011 pause      accepts and reads nothing until 7012 says so, then COUNT bytes, and resets
        7012 go on      reads "COUNT\\n", lets 7011 go on, answers "SHA256 COUNT" of what it read
    UDP 7101 echo       sends each datagram back
        7102 who        answers "ADDRESS PORT\\n" of the peer it sees
        7103 twice      answers each datagram from another port (7104) as well
        7105 bytes      answers "COUNT" with as many bytes
        7106 burst      answers "COUNT SIZE" with so many numbered datagrams of that size at once, and a shorter one

The stream is a random block rotated by a number per round: it does not repeat, and making it costs a copy.
"""

import hashlib
import os
import queue
import random
import socket
import struct
import sys
import threading
import time

BLOCK = random.Random(20260).randbytes(1 << 20)
last = ["nothing"]


def stream(count):
    """`count` bytes in chunks; the same bytes for the same count in every process."""
    view, round_, left = memoryview(BLOCK + BLOCK), 0, count
    while left > 0:
        start = round_ * 7919 % len(BLOCK)
        size = min(left, len(BLOCK) - 8)
        chunk = bytearray(view[start:start + size])
        chunk[:8] = struct.pack(">Q", round_)[:min(8, size)] if size < 8 else struct.pack(">Q", round_)
        yield chunk
        left -= size
        round_ += 1


def stream_digest(count):
    digest = hashlib.sha256()
    for chunk in stream(count):
        digest.update(chunk)
    return digest.hexdigest()


def read_to_end(connection, digest=None):
    buffer, count = bytearray(1 << 18), 0
    while size := connection.recv_into(buffer):
        count += size
        if digest is not None:
            digest.update(memoryview(buffer)[:size])
    return count


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line


def echo(connection, _):
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def digest(connection, _):
    sha = hashlib.sha256()
    count = read_to_end(connection, sha)
    connection.sendall(f"{sha.hexdigest()} {count}\n".encode())


def source(connection, _):
    count = int(read_line(connection))
    for chunk in stream(count):
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)
    read_to_end(connection)


going, gone = queue.Queue(), queue.Queue()


def pause(connection, _):
    count, sha = going.get(timeout=120), hashlib.sha256()
    buffer, left = bytearray(1 << 18), count
    while left > 0 and (size := connection.recv_into(buffer, min(left, len(buffer)))):
        sha.update(memoryview(buffer)[:size])
        left -= size
    gone.put(f"{sha.hexdigest()} {count - left}")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def go_on(connection, _):
    going.put(int(read_line(connection)))
    connection.sendall(gone.get(timeout=60).encode())


def half(connection, _):
    connection.sendall(b"hello\n")
    connection.shutdown(socket.SHUT_WR)
    data = b""
    while piece := connection.recv(65536):
        data += piece
    last[0] = data.decode()


def reset(connection, _):
    read_line(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def watch(connection, _):
    last[0] = "waiting"
    try:
        last[0] = f"end after {read_to_end(connection)}"
    except OSError as error:
        last[0] = type(error).__name__


def serve_tcp(address, port, handler):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if port == 7008:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind((address, port))
    listener.listen(1024)

    def one(connection, peer):
        try:
            handler(connection, peer)
        except OSError as error:
            print(f"{port}: {error}", flush=True)
        finally:
            connection.close()

    def accept():
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=one, args=(connection, peer), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_udp(address, port, handler):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    s.bind((address, port))

    def loop():
        while True:
            data, peer = s.recvfrom(65536)
            try:
                handler(s, data, peer)
            except OSError as error:
                print(f"udp {port}: {error}", flush=True)

    threading.Thread(target=loop, daemon=True).start()
    return s


def who(peer):
    return f"{peer[0]} {peer[1]}\n".encode()


def burst(s, data, peer):
    count, size = map(int, data.split())
    for number in range(count):
        s.sendto(number.to_bytes(2, "big") + bytes([number % 251]) * (size - 2), peer)
    s.sendto(count.to_bytes(2, "big"), peer)


def main(addresses):
    for address in addresses:
        tcp = {7001: echo, 7002: digest, 7003: source, 7004: half, 7006: reset, 7007: watch,
               7005: lambda c, _: c.sendall(last[0].encode()),
               7008: lambda c, _: time.sleep(30),
               7011: pause,
               7012: go_on,
               7010: lambda c, peer: c.sendall(who(peer))}
        for port, handler in tcp.items():
            serve_tcp(address, port, handler)
        other = serve_udp(address, 7104, lambda s, data, peer: None)
        serve_udp(address, 7101, lambda s, data, peer: s.sendto(data, peer))
        serve_udp(address, 7102, lambda s, data, peer: s.sendto(who(peer), peer))
        serve_udp(address, 7103, lambda s, data, peer, other=other: (s.sendto(data, peer), other.sendto(b"other " + data, peer)))
        serve_udp(address, 7106, burst)
        serve_udp(address, 7105, lambda s, data, peer: s.sendto(bytes(int(data)), peer))
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
