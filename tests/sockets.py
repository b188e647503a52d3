"""A small websocket client: a handshake, whole text messages, acknowledgements."""

import asyncio
import base64
import os
import struct
from collections.abc import Mapping
from typing import Any, Self

import orjson

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Refused(Exception):
    """The handshake was answered with something else than a websocket."""


class Socket:
    """One open websocket on loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.code: int | None = None
        """Why it was closed, once it was."""

    @classmethod
    async def open(cls, port: int, path: str, headers: Mapping[str, str] | None = None) -> Self:
        """Raises Refused or OSError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        given = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **(headers or {}),
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError) as problem:
            writer.transport.abort()
            raise ConnectionResetError from problem
        if b" 101 " not in answer.split(b"\r\n")[0]:
            writer.close()
            raise Refused(answer.split(b"\r\n")[0].decode())
        return cls(reader, writer)

    async def message(self) -> dict[str, Any] | None:
        """The next one; None after a close. Raises OSError or IncompleteReadError for a cut."""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 127
            if size == 126:
                [size] = struct.unpack(">H", await self.reader.readexactly(2))
            elif size == 127:
                [size] = struct.unpack(">Q", await self.reader.readexactly(8))
            data = await self.reader.readexactly(size)
            match first & 15:
                case 1:
                    found: dict[str, Any] = orjson.loads(data)
                    return found
                case 8:
                    self.code = struct.unpack(">H", data[:2])[0] if data else None
                    self.writer.close()
                    return None
                case 9:
                    self._send(PONG, data)

    def ack(self, cursor: str) -> None:
        self._send(TEXT, orjson.dumps({"type": "ack", "cursor": cursor}))

    def cut(self) -> None:
        """Ends it as networks do."""
        self.writer.transport.abort()

    def _send(self, kind: int, data: bytes) -> None:
        size = bytes([len(data) | 128]) if len(data) < 126 else struct.pack(">BH", 254, len(data))
        self.writer.write(bytes([128 | kind]) + size + bytes(4) + data)
