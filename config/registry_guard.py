"""Stands before the started registry and has every request judged before the registry sees it.

The registry listens on a socket that only this user can open. Each request is handed on over a
connection of its own, so that nothing follows it unseen.
"""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from logging import getLogger
from pathlib import Path

from django.db import close_old_connections

from builds.registry.tokens import Signer
from config.registry_requests import END, Answer, Head, judge, refusal

HEAD_BYTES = 65_536
HEAD_SECONDS = 30.0
LINGER_SECONDS = 5.0
PIECE_BYTES = 262_144
logger = getLogger(__name__)


class RegistryGuard:
    """A thread that listens on `address` and hands on to `socket`."""

    def __init__(self, *, address: str, socket: Path, signer: Signer) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._socket = socket
        self._signer = signer
        self._thread = threading.Thread(target=self._run, name="registry-guard", daemon=True)
        self._begun = threading.Event()
        self._problem: OSError | None = None
        self._cancel: Callable[[], object] = bool

    def start(self) -> None:
        """Returns when it listens; raises OSError when it cannot."""
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
        # The path of a socket is short by law, that of a data directory is not.
        folder = os.open(self._socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = Path(f"/proc/self/fd/{folder}", self._socket.name)
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
        # Whoever goes away, or is not serious, is not answered.
        gone = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with suppress(*gone):
            async with asyncio.timeout(HEAD_SECONDS):
                head = Head.parse(await client.readuntil(END))
            if head is None:
                judged: bytes | Answer = refusal(HTTPStatus.BAD_REQUEST, "UNSUPPORTED", "not HTTP")
            else:
                judged = await asyncio.to_thread(self._judge, head)
            if isinstance(judged, bytes):
                await self._hand_on(judged, client, answer)
            else:
                await _say(answer, judged, bodiless=head is not None and head.method == "HEAD")
        answer.close()

    def _judge(self, head: Head) -> bytes | Answer:
        close_old_connections()
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
        try:
            registry, asking = await asyncio.open_unix_connection(self._socket, limit=PIECE_BYTES)
        except OSError:
            away = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "the registry is away")
            await _say(answer, away, bodiless=False)
            return
        asking.write(head)
        sending = asyncio.create_task(_send(client, asking))
        try:
            while piece := await registry.read(PIECE_BYTES):
                answer.write(piece)
                await answer.drain()
            answer.write_eof()
            # Closing on what is still being sent would take the answer away from its reader.
            await asyncio.wait([sending], timeout=LINGER_SECONDS)
        finally:
            sending.cancel()
            asking.close()


async def _send(client: asyncio.StreamReader, asking: asyncio.StreamWriter) -> None:
    """Hands the body on until the client is gone; reads on where the registry wants no more."""
    with suppress(OSError):
        while piece := await client.read(PIECE_BYTES):
            with suppress(OSError):
                asking.write(piece)
                await asking.drain()
    asking.close()


async def _say(answer: asyncio.StreamWriter, said: Answer, *, bodiless: bool) -> None:
    status, content = said
    body = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    answer.write(head.encode() + (b"" if bodiless else body))
    await answer.drain()
