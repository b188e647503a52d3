"""The two websockets: the log of one image, and status changes of images. See docs/websocket.md."""

import asyncio
from collections import deque
from contextlib import suppress
from logging import getLogger
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from channels.generic.websocket import AsyncWebsocketConsumer

from accounts.credentials import BadCredentials, Headers
from accounts.websocket_auth import Caller, caller_of, headers_of, may_come_from
from builds.logs.cursor import BadCursor, Cursor, Lines
from builds.logs.follow import Done, Silence, Standing, follow
from builds.logs.reader_threads import in_reader
from builds.metrics import VIEWERS
from common.outages import OUTAGES
from images.live.access_watch import Closed, Code, gate, may_read, opened
from images.live.messages import (
    GoneMessage,
    ImageMessage,
    done_message,
    lines_messages,
    status_message,
)
from images.live.status_feed import Inbox, moved, moves
from images.models import Image

logger = getLogger(__name__)
PING_SECONDS = 20.0
SILENT_SECONDS = 60.0
CREDIT_CHARACTERS = 256 * 1024


class Socket(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Opens the connection, checks access and that the client still answers, closes with a code."""

    channel_layer_alias = None
    """No channel layer: no other process sends anything to a single viewer."""

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As in channels, without its call in another thread that closes connections: there are
        none here."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    async def connect(self) -> None:
        headers = headers_of(self.scope)
        self.asked = dict(parse_qsl(self.scope["query_string"].decode("latin1")))
        self.heard_at = monotonic()
        self.heard = asyncio.Event()
        if not may_come_from(headers):
            await self.close()
            return
        await self.accept()
        self.task = asyncio.create_task(self._run(headers))

    async def disconnect(self, _code: int) -> None:
        if hasattr(self, "task"):
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.heard_at = monotonic()
        try:
            message = orjson.loads(text_data or "")
            self.acknowledged(message)
        except (ValueError, TypeError, KeyError):
            self.task.cancel()
            await self.close(int(Code.BAD_MESSAGE))
        self.heard.set()

    async def _run(self, headers: Headers) -> None:
        try:
            caller, watched = await in_reader(self._let_in, headers)
            with (
                VIEWERS.labels("websocket").track_inprogress(),
                gate().watching(caller, watched) as place,
            ):
                telling = asyncio.create_task(self.tell(caller))
                try:
                    both: set[asyncio.Future[Any]] = {telling, place.barred}
                    await asyncio.wait(both, return_when="FIRST_COMPLETED")
                    if not telling.done():
                        raise Closed(place.barred.result())
                    await telling
                finally:
                    telling.cancel()
            code = Code.DONE
        except BadCredentials:
            code = Code.UNAUTHORIZED
        except Closed as closed:
            code = closed.code
        except OUTAGES as problem:
            logger.warning("the database is away; a viewer is to come back: %s", problem)
            code = Code.BROKEN
        except Exception:
            # Nobody awaits this task, so an error would otherwise leave the viewer waiting for
            # ever.
            logger.exception("a websocket broke")
            code = Code.BROKEN
        await self.close(int(code))  # the server accepts only this type of number

    def _let_in(self, headers: Headers) -> tuple[Caller, UUID | None]:
        caller = caller_of(headers, purpose="images")
        return caller, self.prepare(caller)

    def check_heard(self) -> None:
        """Raises Closed if the client was silent for too long."""
        if monotonic() - self.heard_at >= SILENT_SECONDS:
            raise Closed(Code.SILENT)

    async def say(self, message: Any) -> None:
        await self.send(orjson.dumps(message).decode())

    def prepare(self, caller: Caller) -> UUID | None:
        """Prepares what will be watched, one image or many, in a reader's thread. Raises Closed."""
        raise NotImplementedError

    async def tell(self, caller: Caller) -> None:
        """Sends everything that is new. Raises Closed."""
        raise NotImplementedError

    def acknowledged(self, message: dict[str, Any]) -> None:
        """Handles an acknowledgement. Raises ValueError, TypeError or KeyError if it is invalid."""
        if message["type"] != "ack":
            raise ValueError


class LogSocket(Socket):
    """Lines from a cursor on, with at most the credit of characters not yet acknowledged."""

    def prepare(self, caller: Caller) -> UUID:
        image = opened(caller, self.scope["url_route"]["kwargs"]["image_id"])
        self.image_id: UUID = image.pk
        self.cursor = _cursor_of(image, self.asked.get("offset", ""))
        self.sent: deque[tuple[Cursor, int]] = deque()
        self.unacknowledged = 0
        return self.image_id

    async def tell(self, caller: Caller) -> None:
        async for told in follow(self.image_id, self.cursor, silence=PING_SECONDS):
            self.check_heard()
            match told:
                case Lines():
                    for following, text in told.once(lines_messages):
                        await self._credit_for(len(text))
                        self.sent.append((following, len(text)))
                        self.cursor = following
                        await self.send(text)
                case Standing():
                    await self.say(status_message(told))
                case Silence():
                    await self.say({"type": "ping"})
                case Done():
                    if told.status is None:
                        raise Closed(Code.NOT_FOUND)
                    await self.say(done_message(told))

    async def _credit_for(self, size: int) -> None:
        while self.sent and self.unacknowledged + size > CREDIT_CHARACTERS:
            self.heard.clear()
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    await self.heard.wait()
            except TimeoutError:
                raise Closed(Code.SILENT) from None
        self.unacknowledged += size

    def acknowledged(self, message: dict[str, Any]) -> None:
        super().acknowledged(message)
        cursor = Cursor.parse(message["cursor"])
        reached = (cursor.attempt, cursor.line)
        if reached > (self.cursor.attempt, self.cursor.line):
            raise ValueError
        while self.sent and (self.sent[0][0].attempt, self.sent[0][0].line) <= reached:
            self.unacknowledged -= self.sent.popleft()[1]


class ImagesSocket(Socket):
    """Status changes of all images that the caller may see, or of one."""

    def prepare(self, caller: Caller) -> UUID | None:
        self.only: UUID | None = None
        if "image" in self.asked:
            try:
                self.only = UUID(self.asked["image"])
            except ValueError:
                raise Closed(Code.NOT_FOUND) from None
            opened(caller, self.only)
        return self.only

    async def tell(self, caller: Caller) -> None:
        def may_see(image: Image) -> bool:
            return self.only in (None, image.pk) and may_read(caller, image)

        inbox = Inbox(may_see)
        with moves().told_to(inbox) as looked:
            if self.only:
                inbox.put(await in_reader(moved, await in_reader(opened, caller, self.only)))
            else:
                await looked.wait()
            await self._pass_on(await inbox.take(0))
            await self.say({"type": "ready"})
            while True:
                news = await inbox.take(PING_SECONDS)
                self.check_heard()
                await self._pass_on(news)
                if not news:
                    await self.say({"type": "ping"})

    async def _pass_on(self, news: list[ImageMessage | GoneMessage]) -> None:
        for message in news:
            await self.say(message)


def _cursor_of(image: Image, given: str) -> Cursor:
    """Raises Closed for a cursor that the server cannot have issued."""
    if not given:
        return Cursor(image.build.number, 0)
    try:
        cursor = Cursor.parse(given)
    except BadCursor:
        raise Closed(Code.BAD_CURSOR) from None
    attempt = image.attempts.light().filter(number=cursor.attempt).first()
    if attempt is None or cursor.line > attempt.log_lines:
        raise Closed(Code.BAD_CURSOR)
    return cursor
