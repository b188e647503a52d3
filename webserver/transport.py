"""TCP connections that write immediately, and websockets that share frames between readers."""
# ruff: noqa: N802, N815 - the names are twisted's

from collections.abc import Iterable
from functools import lru_cache

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.tcp import Port, Server

BACKLOG = 1024
"""Connections that may wait for accept: all viewers reconnect after a restart of the server."""
TEXT = 0x81
"""First byte of a frame with a complete text message."""
TWO_BYTES, EIGHT_BYTES = 126, 127
"""Second byte of a frame: the size follows in 2 or 8 bytes. Smaller sizes are in this byte."""


class Transport(Server):
    """Writes immediately as much as the kernel accepts. Waiting for the reactor costs more."""

    bufferSize = 256 * 1024

    def write(self, data: bytes) -> None:
        waits = self._tempDataBuffer or len(self.dataBuffer) > self.offset
        if self.connected and not (waits or self._writeDisconnected or self.TLS):
            sent = self.writeSomeData(data)
            # If the connection is lost, super().write detects and reports it as usual.
            data = data[sent:] if isinstance(sent, int) else data
        if data:
            super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))


class Listener(Port):
    transport = Transport


class Socket(WebSocketProtocol):
    """A websocket without compression, because none is ever negotiated.

    It may be closed with any code: autobahn forbids 1011 for servers.
    """

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        if isinstance(content, str) and self.state == self.STATE_OPEN:
            self.transport.write(framed(content))
        elif self.state == self.STATE_OPEN:  # else the application gets a disconnect next
            super().serverSend(content, binary)

    def serverClose(self, code: int | None = None) -> None:
        self.sendCloseFrame(code=1000 if code is None else code)


@lru_cache(maxsize=32)
def framed(text: str) -> bytes:
    """Encode a message as a frame. Cached, because readers of one log get the same messages."""
    data = text.encode()
    size = len(data)
    if size < TWO_BYTES:
        head = bytes((TEXT, size))
    elif size < 1 << 16:
        head = bytes((TEXT, TWO_BYTES)) + size.to_bytes(2)
    else:
        head = bytes((TEXT, EIGHT_BYTES)) + size.to_bytes(8)
    return head + data
