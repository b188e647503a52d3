"""Readers that keep their cursor and come back, whatever ends under them."""

import asyncio
import hashlib
import random
from asyncio import IncompleteReadError
from collections.abc import Sequence

import httpx
import orjson

from tests.sockets import Refused, Socket

SILENT_SECONDS = 40
"""Servers say something well before, if only that they live."""
COME_BACK = frozenset({None, 1001, 1011, 4408})
"""Codes after which a client tries again; see docs/websocket.md."""


class Trouble(Exception):
    """The server is not up to it just now: come back."""


class Reader:
    """Follows one image's log to its end, being cut at random, and keeps what it was told."""

    def __init__(
        self, ports: Sequence[int], image_id: str, key: str, *, chance: random.Random, cuts: int
    ) -> None:
        self.ports, self.image_id, self.key = ports, image_id, key
        self.chance, self.cuts = chance, cuts
        self.made_cuts = 0
        """How many of its connections it ended itself."""
        self.suffered = 0
        """How many ended under it, or could not be had."""
        self.cursor = "1:0"
        self.status = ""
        self.hash = hashlib.sha256()
        self.lines = 0

    async def run(self) -> None:
        while not self.status:
            patience = self.chance.randrange(1, 4) if self.cuts > 0 else 1_000_000
            try:
                async with asyncio.timeout(None) as limit:
                    self.limit = limit
                    await self.follow(self.chance.choice(self.ports), patience)
            except (
                OSError,
                IncompleteReadError,
                httpx.TransportError,
                Refused,
                Trouble,
            ) as problem:
                silent = isinstance(problem, TimeoutError | httpx.ReadTimeout)
                assert not silent, f"{self} heard nothing for {SILENT_SECONDS} s"
                self.suffered += 1
                await asyncio.sleep(self.chance.uniform(0.02, 0.2))
            else:
                if not self.status:
                    self.made_cuts += 1
                    self.cuts -= 1

    def heard(self) -> None:
        self.limit.reschedule(asyncio.get_running_loop().time() + SILENT_SECONDS)

    def take(self, text: str, cursor: str) -> None:
        self.hash.update(f"{text}\n".encode())
        self.lines += 1
        self.cursor = cursor

    async def follow(self, port: int, patience: int) -> None:
        """Until the end, or until so many batches came."""
        raise NotImplementedError

    def client(self, port: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/images/{self.image_id}",
            headers={"Authorization": self.key},
            trust_env=False,
            timeout=SILENT_SECONDS,
        )

    def well(self, answer: httpx.Response) -> None:
        """Raises Trouble for what passes; a client would give up after anything else."""
        if answer.status_code >= 500:
            raise Trouble(str(answer.status_code))
        assert answer.status_code in (200, 206), answer.status_code


class SocketReader(Reader):
    async def follow(self, port: int, patience: int) -> None:
        path = f"/ws/images/{self.image_id}/logs?offset={self.cursor}"
        self.heard()
        socket = await Socket.open(port, path, {"Authorization": self.key})
        try:
            while message := await socket.message():
                self.heard()
                match message["type"]:
                    case "lines":
                        if patience <= 0:
                            return
                        patience -= 1
                        for line in message["lines"]:
                            self.take(line[1], message["next"])
                        # What is not acknowledged yet was handled all the same.
                        if self.chance.random() < 0.9:
                            socket.ack(self.cursor)
                    case "ping":
                        socket.ack(self.cursor)
                    case "done":
                        self.status = message["status"]
                        await self.closed(socket)
                        return
            assert socket.code in COME_BACK, socket.code
            raise Trouble(str(socket.code))
        finally:
            socket.cut()

    async def closed(self, socket: Socket) -> None:
        try:
            after = await asyncio.wait_for(socket.message(), 20)
        except TimeoutError as problem:
            raise AssertionError("the end was told, but the socket not closed") from problem
        except (OSError, IncompleteReadError):  # the server was killed at this very moment
            return
        assert (after, socket.code) == (None, 1000)


class EventReader(Reader):
    async def follow(self, port: int, patience: int) -> None:
        patience *= 10
        path = f"/logs?offset={self.cursor}"
        headers = {"Accept": "text/event-stream"}
        async with (
            self.client(port) as client,
            client.stream("GET", path, headers=headers) as answer,
        ):
            self.well(answer)
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                data = orjson.loads(line[6:])
                if isinstance(data, str):
                    self.status = data
                    return
                if patience <= 0:
                    return
                patience -= 1
                self.take(data["log"]["log"], data["offset"])
        raise Trouble("the stream ended without saying so")


class PageReader(Reader):
    """Asks for some lines by their numbers, again and again."""

    async def follow(self, port: int, patience: int) -> None:
        async with self.client(port) as client:
            while True:
                attempt, line = self.cursor.split(":")
                asked = {"attempt": attempt, "from": line, "count": "100"}
                answer = await client.get("/logs/lines", params=asked)
                self.well(answer)
                page = answer.json()
                for row in page["lines"]:
                    self.take(row[1], page["next"])
                if page["ended"] and self.cursor == f"{attempt}:{page['total']}":
                    following = {"attempt": str(int(attempt) + 1)}
                    answer = await client.get("/logs/lines", params=following)
                    if answer.status_code == 404:
                        self.status = page["status"]
                        return
                    self.well(answer)
                    self.cursor = f"{following['attempt']}:0"
                elif not page["lines"]:
                    await asyncio.sleep(0.3)
                elif patience <= 0:
                    return
                else:
                    patience -= 1


class TextReader(Reader):
    """Waits for the end, and then takes the text in pieces."""

    size = 0
    etag = ""

    async def follow(self, port: int, patience: int) -> None:
        async with self.client(port) as client:
            while True:
                answer = await client.get("")
                self.well(answer)
                status: str = answer.json()["status"]
                if status not in ("pending build", "building"):
                    break
                await asyncio.sleep(0.5)
            asked = {"Range": f"bytes={self.size}-"}
            if self.etag:
                asked["If-Range"] = self.etag
            async with client.stream("GET", "/logs?offset=1:0", headers=asked) as answer:
                if answer.headers.get("Content-Range") == f"bytes */{self.size}":
                    self.status = status
                    return
                self.well(answer)
                assert answer.status_code == 206, "another text than before"
                self.etag = answer.headers["ETag"]
                left = patience * 500
                async for data in answer.aiter_raw():
                    self.hash.update(data[:left])
                    self.lines += data[:left].count(b"\n")
                    self.size += len(data[:left])
                    left -= len(data)
                    if left < 0:
                        return
            self.status = status
