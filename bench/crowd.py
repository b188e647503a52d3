"""Many viewers of logs in one thread, which only reads bytes from sockets and notes the time.

The bytes are parsed afterwards, so that the server is measured and not the clients. The delay of a
line is the time from its read from the build until its last byte was received here.
"""

import base64
import os
import re
import select
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Literal

Kind = Literal["websocket", "sse"]
ACK_SECONDS = 1.0
TICK = {
    "websocket": re.compile(rb'\["stdout","tick \d+",(\d+),'),
    "sse": re.compile(rb'"log":"tick \d+","line":\d+,"ts":"([^"]+)"'),
}
NEXT = re.compile(rb'"next":"([^"]+)"')
END = {"websocket": b'{"type":"done"', "sse": b"\nDONE\n"}


@dataclass(eq=False)
class Viewer:
    """One connection, and what it received when."""

    kind: Kind
    socket: socket.socket
    came: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def tail(self) -> bytes:
        return b"".join(data for _, data in self.came[-2:])

    def acknowledge(self) -> None:
        found = NEXT.findall(self.tail)
        if found:
            text = b'{"type":"ack","cursor":"%s"}' % found[-1]
            self.socket.send(bytes([129, 128 | len(text)]) + bytes(4) + text)

    def delays(self) -> Iterator[float]:
        """The delay of each tick, in ms."""
        text = b"".join(data for _, data in self.came)
        chunks = iter(self.came)
        end = at = 0.0
        for found in TICK[self.kind].finditer(text):
            while end < found.end():
                at, data = next(chunks)
                end += len(data)
            yield 1000 * (at - when(found[1]))


@cache
def when(text: bytes) -> float:
    return int(text) / 1e6 if text.isdigit() else datetime.fromisoformat(text.decode()).timestamp()


def opened(kind: Kind, port: int, image_ids: Collection[str], key: str) -> list[Viewer]:
    """One viewer for each id; returns when each has received the heading of the first step."""
    viewers = [Viewer(kind, _asking(kind, port, each, key)) for each in image_ids]
    for viewer in viewers:
        answer = b""
        while b"STEP 1/" not in answer:
            data = viewer.socket.recv(65536)
            assert data, answer
            answer += data
        assert answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")), answer
        viewer.came.append((time.time(), answer.partition(b"\r\n\r\n")[2]))
        viewer.socket.setblocking(False)
    return viewers


def watch(viewers: Collection[Viewer], seconds: float) -> list[float]:
    """Reads until every log has ended, then closes. Returns the delays of all ticks, in ms.

    Raises AssertionError if a log did not end within the time.
    """
    waiting = {viewer.socket.fileno(): viewer for viewer in viewers}
    until, acknowledged = time.monotonic() + seconds, time.monotonic()
    with select.epoll() as poll:
        for fd in waiting:
            poll.register(fd, select.EPOLLIN)
        while waiting:
            assert time.monotonic() < until, f"{len(waiting)} viewers saw no end"
            for fd, _ in poll.poll(0.05):
                viewer = waiting[fd]
                data = viewer.socket.recv(262144)
                viewer.came.append((time.time(), data))
                if not data or END[viewer.kind] in viewer.tail[-1024:]:
                    poll.unregister(fd)
                    del waiting[fd]
            if time.monotonic() - acknowledged >= ACK_SECONDS:
                acknowledged = time.monotonic()
                for viewer in waiting.values():
                    if viewer.kind == "websocket":
                        viewer.acknowledge()
    for viewer in viewers:
        viewer.socket.close()
    return sorted(delay for viewer in viewers for delay in viewer.delays())


def _asking(kind: Kind, port: int, image_id: str, key: str) -> socket.socket:
    path, more = f"/images/{image_id}/logs", {"Accept": "text/event-stream"}
    if kind == "websocket":
        path = f"/ws/images/{image_id}/logs"
        more = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
    headers = {"Host": f"127.0.0.1:{port}", "Authorization": key, **more}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return connection
