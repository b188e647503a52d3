"""Readers that keep their cursor and come back, whatever ends under them."""

import asyncio
import hashlib
import random
from asyncio import IncompleteReadError

import httpx
import orjson

from tests.sockets import Refused, Socket


class Reader:
    """Follows one image's log to its end, being cut at random, and keeps what it was told."""

    def __init__(
        self, port: int, image_id: str, key: str, *, chance: random.Random, cuts: int
    ) -> None:
        self.port, self.image_id, self.key = port, image_id, key
        self.chance, self.cuts = chance, cuts
        self.kills = 0
        """How many of its connections ended early."""
        self.cursor = "1:0"
        self.status = ""
        self.texts: list[str] = []

    @property
    def hash(self) -> str:
        return hashlib.sha256("".join(f"{text}\n" for text in self.texts).encode()).hexdigest()

    async def run(self) -> None:
        while not self.status:
            patience = self.chance.randrange(1, 4) if self.cuts > 0 else 1_000_000
            try:
                await self.follow(patience)
            except (OSError, IncompleteReadError, httpx.TransportError, Refused):
                await asyncio.sleep(self.chance.uniform(0.02, 0.2))
            if not self.status:
                self.kills += 1
                self.cuts -= 1

    async def follow(self, patience: int) -> None:
        """Until the end, or until so many batches came."""
        raise NotImplementedError


class SocketReader(Reader):
    async def follow(self, patience: int) -> None:
        path = f"/ws/images/{self.image_id}/logs?offset={self.cursor}"
        socket = await Socket.open(self.port, path, {"Authorization": self.key})
        try:
            while message := await socket.message():
                match message["type"]:
                    case "lines":
                        if patience <= 0:
                            return
                        patience -= 1
                        self.texts += [line[1] for line in message["lines"]]
                        self.cursor = message["next"]
                        # What is not acknowledged yet was handled all the same.
                        if self.chance.random() < 0.9:
                            socket.ack(self.cursor)
                    case "ping":
                        socket.ack(self.cursor)
                    case "done":
                        self.status = message["status"]
                        await self.closed(socket)
                        return
        finally:
            socket.cut()

    async def closed(self, socket: Socket) -> None:
        try:
            after = await asyncio.wait_for(socket.message(), 20)
        except (OSError, IncompleteReadError) as problem:  # a TimeoutError is an OSError
            raise AssertionError("the end was told, but the socket not closed") from problem
        assert (after, socket.code) == (None, 1000)


class EventReader(Reader):
    async def follow(self, patience: int) -> None:
        headers = {"Authorization": self.key, "Accept": "text/event-stream"}
        url = f"http://127.0.0.1:{self.port}/images/{self.image_id}/logs?offset={self.cursor}"
        patience *= 10
        timeout = httpx.Timeout(30)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=timeout) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise Refused(str(answer.status_code))
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
                self.texts.append(data["log"]["log"])
                self.cursor = data["offset"]
