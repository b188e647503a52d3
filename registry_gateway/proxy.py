"""Proxy in front of the started registry. It authorizes every request before forwarding it.

The registry listens on a unix socket that only this user can open. Each request is forwarded over
a separate connection, so that no other request can follow it unchecked.
"""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from logging import getLogger
from pathlib import Path

from django.db import close_old_connections

from builds.registry.tokens import Signer
from registry_gateway.authorization import END, Answer, Head, judge, refusal

HEAD_BYTES = 65_536
HEAD_SECONDS = 30.0
LINGER_SECONDS = 5.0
PIECE_BYTES = 262_144
logger = getLogger(__name__)


class RegistryGuard:
    """A thread that listens on `address` and forwards to the unix socket `path`."""

    def __init__(self, *, address: str, path: Path, signer: Signer) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._path = path
        self._signer = signer
        self._thread = threading.Thread(target=self._run, name="registry-guard", daemon=True)
        self._begun = threading.Event()
        self._problem: OSError | None = None
        self._cancel: Callable[[], object] = bool
        self.deletions = 0
        """Number of DELETE requests since the last garbage collection."""

    def start(self) -> None:
        """Start it and wait until it listens. Raises OSError if it cannot."""
        self._thread.start()
        self._begun.wait()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        if self._thread.is_alive():
            self._cancel()
            self._thread.join(LINGER_SECONDS)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop, serving = asyncio.get_running_loop(), asyncio.current_task()
        assert serving is not None  # noqa: S101
        self._cancel = partial(loop.call_soon_threadsafe, serving.cancel)
        # Socket paths are limited to 107 bytes, and the data directory's may be longer.
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = Path(f"/proc/self/fd/{folder}", self._path.name)
        try:
            server = await asyncio.start_server(
                self._connected, self._host, int(self._port), limit=HEAD_BYTES
            )
            self._begun.set()
            async with server:
                await server.serve_forever()
        except OSError as problem:
            self._problem = problem
        finally:
            self._begun.set()
            os.close(folder)

    async def _connected(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        # A client that disconnects, times out or sends no valid head gets no answer.
        gone = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await _head(client)
            if head is None:
                judged: bytes | Answer = refusal(HTTPStatus.BAD_REQUEST, "UNSUPPORTED", "not HTTP")
            else:
                judged = await asyncio.to_thread(self._judge, head)
            if isinstance(judged, bytes):
                await self._hand_on(judged, client, answer)
            else:
                await _say(answer, judged, bodiless=head is not None and head.method == "HEAD")
        except gone:
            pass
        finally:
            answer.close()

    def _judge(self, head: Head) -> bytes | Answer:
        close_old_connections()
        self.deletions += head.method == "DELETE"
        try:
            return judge(head, self._signer)
        except Exception:
            logger.exception("a request to the registry could not be judged")
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "try again")
        finally:
            close_old_connections()

    async def _hand_on(
        self, head: bytes, client: asyncio.StreamReader, answer: asyncio.StreamWriter
    ) -> None:
        # A plain socket: an asyncio stream discards the received answer once writing fails, and the
        # registry refuses bodies by closing the connection while they are sent.
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as registry:
            registry.setblocking(False)
            try:
                await loop.sock_connect(registry, str(self._path))
                await loop.sock_sendall(registry, head)
            except OSError:
                away = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "it starts again")
                await _say(answer, away, bodiless=False)
                return
            sending = asyncio.create_task(_send(client, registry))
            try:
                while piece := await _receive(registry):
                    answer.write(piece)
                    await answer.drain()
                answer.write_eof()
                # Closing while the client still sends would reset the connection, and the client
                # would lose the answer.
                await asyncio.wait([sending], timeout=LINGER_SECONDS)
            finally:
                sending.cancel()
                await asyncio.wait([sending])


async def _head(client: asyncio.StreamReader) -> Head | None:
    first = await client.readexactly(1)
    if not first.isupper():
        return None  # probably TLS, which clients try first and wait for
    return Head.parse(first + await client.readuntil(END))


async def _receive(registry: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(registry, PIECE_BYTES)
    except OSError:
        return b""


async def _send(client: asyncio.StreamReader, registry: socket.socket) -> None:
    """Forward the body until the client closes. If the registry stops reading, discard the rest."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while piece := await client.read(PIECE_BYTES):
            with suppress(OSError):
                await loop.sock_sendall(registry, piece)
        registry.shutdown(socket.SHUT_RDWR)


async def _say(answer: asyncio.StreamWriter, said: Answer, *, bodiless: bool) -> None:
    status, content = said
    body = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    answer.write(head.encode() + (b"" if bodiless else body))
    await answer.drain()
