"""Connections that write at once, and websockets whose messages are framed once for all readers."""
# ruff: noqa: N802, N815 - the names are twisted's

from collections.abc import Iterable
from functools import lru_cache

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.tcp import Port, Server

BACKLOG = 1024
"""Connections that wait to be taken: the viewers of a page whose server just restarted."""
TEXT = 0x81
"""The first byte of a frame that is a whole message of text."""
TWO_BYTES, EIGHT_BYTES = 126, 127
"""In the second byte: the size follows in so many. Smaller ones stand there themselves."""


class Transport(Server):
    """Writes what the kernel takes at once: asking the reactor first costs more than writing."""

    bufferSize = 256 * 1024

    def write(self, data: bytes) -> None:
        waits = self._tempDataBuffer or len(self.dataBuffer) > self.offset
        if self.connected and not (waits or self._writeDisconnected or self.TLS):
            sent = self.writeSomeData(data)
            # A lost connection is found once more, and told, where all others are.
            data = data[sent:] if isinstance(sent, int) else data
        if data:
            super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))


class Listener(Port):
    transport = Transport


class Socket(WebSocketProtocol):
    """A websocket without compression, as none is ever agreed on.

    It may be closed with any code: autobahn would keep 1011 from servers.
    """

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        if isinstance(content, str) and self.state == self.STATE_OPEN:
            self.transport.write(framed(content))
        elif self.state == self.STATE_OPEN:  # else nobody listens, as the application hears next
            super().serverSend(content, binary)

    def serverClose(self, code: int | None = None) -> None:
        self.sendCloseFrame(code=1000 if code is None else code)


@lru_cache(maxsize=32)
def framed(text: str) -> bytes:
    """The message as it goes over the wire. Readers of one log are sent the same ones in turn."""
    data = text.encode()
    size = len(data)
    if size < TWO_BYTES:
        head = bytes((TEXT, size))
    elif size < 1 << 16:
        head = bytes((TEXT, TWO_BYTES)) + size.to_bytes(2)
    else:
        head = bytes((TEXT, EIGHT_BYTES)) + size.to_bytes(8)
    return head + data
