"""The bell: says that something of an image's builds changed. It carries no line.

A lost ring costs a reader SAFETY_SECONDS, never a line: readers trust only the store.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from time import sleep
from typing import Any
from uuid import UUID

from channels.layers import get_channel_layer

from builds.conf import build_settings
from common.per_loop import PerLoop

SAFETY_SECONDS = 1.0
REST_SECONDS = 0.1
"""Between two messages of one process: what is rung meanwhile goes into the next."""
GROUP = "slipway.bell"
JOIN_SECONDS = 3600.0
"""Between two joinings of the group, which forgets its members after a day."""
Heard = Callable[[UUID], None]
logger = getLogger(__name__)


class Ringer:
    """Sends rings to the other processes from a thread of its own, so that no build waits for it.

    The first goes at once, and many together as one message.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: set[UUID] = set()
        self._rung = threading.Event()
        self._thread: threading.Thread | None = None

    def ring(self, image_id: UUID) -> None:
        with self._lock:
            self._due.add(image_id)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()
        self._rung.set()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while self._rung.wait():
                self._rung.clear()
                with self._lock:
                    due, self._due = self._due, set()
                message = {"type": "bell", "images": [each.hex for each in due]}
                try:
                    runner.run(get_channel_layer().group_send(GROUP, message))
                except Exception:  # noqa: BLE001  (a bell that is away costs time, never a build)
                    logger.warning("the bell could not be rung; readers poll")
                sleep(REST_SECONDS)


class Bell:
    """One per process: who hears it."""

    def __init__(self) -> None:
        self._hearers: set[Heard] = set()
        self._listen = PerLoop(
            lambda: asyncio.create_task(self._receive()), usable=lambda task: not task.done()
        )
        self._ringer = Ringer()

    def ring(self, image_id: UUID) -> None:
        """Called after the commit, from any thread."""
        if build_settings().redis_url:
            self._ringer.ring(image_id)
        else:
            self._sound(image_id)

    @contextmanager
    def heard_by(self, heard: Heard) -> Iterator[None]:
        """`heard` is called with the ids of images, in any thread, until the block ends."""
        if build_settings().redis_url:
            self._listen()
        self._hearers = self._hearers | {heard}
        try:
            yield
        finally:
            self._hearers = self._hearers - {heard}

    def _sound(self, image_id: UUID) -> None:
        for heard in self._hearers:
            heard(image_id)

    async def _hear_for(self, seconds: float, layer: Any, channel: str) -> None:
        hearing = asyncio.ensure_future(self._hear(layer, channel))
        try:
            await asyncio.wait([hearing], timeout=seconds)
        finally:
            while not hearing.done():
                # More than once: the client of Redis may swallow a cancellation.
                hearing.cancel()
                await asyncio.wait([hearing], timeout=REST_SECONDS)
            # Asked for what broke it, also where this is cancelled: asyncio logs what nobody asks.
            problem = None if hearing.cancelled() else hearing.exception()
        if problem is not None:
            raise problem

    async def _hear(self, layer: Any, channel: str) -> None:
        while True:
            message: dict[str, Any] = await layer.receive(channel)
            for image in message["images"]:
                self._sound(UUID(image))

    async def _receive(self) -> None:
        layer, listening = get_channel_layer(), asyncio.current_task()
        while True:
            try:
                channel = await layer.new_channel()
                while True:
                    await layer.group_add(GROUP, channel)
                    await self._hear_for(JOIN_SECONDS, layer, channel)
            except Exception:  # noqa: BLE001  (a bell that is away costs time, never a reader)
                if listening is not None and listening.cancelling():
                    return  # the client of Redis may break off with an error of its own
                logger.warning("the bell is away; readers poll each %s s", SAFETY_SECONDS)
                await asyncio.sleep(SAFETY_SECONDS)


BELL = Bell()


def ring(image_id: UUID) -> None:
    """Says that something of this image's builds changed. Called after the commit."""
    BELL.ring(image_id)
