"""A client with little cost: raw keep-alive connections, one thread, prepared requests."""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

HEAD_END = b"\r\n\r\n"
WAIT_SECONDS = 60.0


@dataclass(eq=False)
class Connection:
    """One keep-alive connection, with at most one request at a time."""

    socket: socket.socket
    began: float = 0.0
    came: bytearray = field(default_factory=bytearray)

    def send(self, request: bytes) -> None:
        self.came.clear()
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Reads the available bytes; returns whether the answer is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError(bytes(self.came[:500]))
        self.came += data
        end = self.came.find(HEAD_END)
        if end < 0:
            return False
        head = bytes(self.came[:end]).lower()
        if b"transfer-encoding: chunked" in head:
            return self.came.endswith(b"\r\n0\r\n\r\n")
        _, _, size = head.partition(b"content-length:")
        return len(self.came) >= end + len(HEAD_END) + int(size.partition(b"\r\n")[0])

    def ask(self, request: bytes, expected: int) -> float:
        """Sends a request and waits for the whole answer; returns the seconds that it took."""
        self.send(request)
        while not self.receive():
            pass
        took = time.perf_counter() - self.began
        self.check(expected)
        return took

    def check(self, expected: int) -> None:
        if not self.came.startswith(b"HTTP/1.1 %d" % expected):
            raise RuntimeError(bytes(self.came[:600]).decode(errors="replace"))

    @property
    def body(self) -> bytes:
        return bytes(self.came).partition(HEAD_END)[2]


def connected(port: int) -> Connection:
    made = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(made)


def rate(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> float:
    """Answers a second, while each of several clients sends the next request after each answer."""
    connections = {made.socket.fileno(): made for made in (connected(port) for _ in range(clients))}
    turns = _endless(requests)
    done = 0
    with select.epoll() as poll:
        for number, each in connections.items():
            poll.register(number, select.EPOLLIN)
            each.send(next(turns))
        began = time.perf_counter()
        while (now := time.perf_counter()) - began < seconds:
            for number, _ in poll.poll(1):
                each = connections[number]
                if each.receive():
                    each.check(200)
                    done += 1
                    each.send(next(turns))
    for each in connections.values():
        each.socket.close()
    return done / (now - began)


def _endless(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests
