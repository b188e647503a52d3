"""Pub/sub for changes of an image's builds. Messages contain no log lines.

A lost message only delays readers by SAFETY_SECONDS: they always read the store.
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
"""Pause between two messages of one process. Changes in between go into the next message."""
GROUP = "slipway.bell"
JOIN_SECONDS = 3600.0
"""Interval at which the group is joined again, as memberships expire after a day."""
Heard = Callable[[UUID], None]
logger = getLogger(__name__)


class Ringer:
    """Publishes changes to other processes from its own thread, so that builds do not wait.

    The first change is sent at once. Changes in quick succession are combined in one message.
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
                except Exception:  # noqa: BLE001  (without pub/sub, readers only get slower)
                    logger.warning("the bell could not be rung; readers poll")
                sleep(REST_SECONDS)


class Bell:
    """Publisher and subscribers of this process; one per process."""

    def __init__(self) -> None:
        self._hearers: set[Heard] = set()
        self._listen = PerLoop(
            lambda: asyncio.create_task(self._receive()), usable=lambda task: not task.done()
        )
        self._ringer = Ringer()

    def ring(self, image_id: UUID) -> None:
        """Publish a change. Call it after the commit, from any thread."""
        if build_settings().redis_url:
            self._ringer.ring(image_id)
        else:
            self._sound(image_id)

    @contextmanager
    def heard_by(self, heard: Heard) -> Iterator[None]:
        """Call `heard` with an image's id on every change, from any thread, inside the block."""
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
                # Repeat, as the Redis client may swallow a cancellation.
                hearing.cancel()
                await asyncio.wait([hearing], timeout=REST_SECONDS)
            # Retrieve the exception even if this is cancelled; otherwise asyncio logs it.
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
            except Exception:  # noqa: BLE001  (without pub/sub, readers only get slower)
                if listening is not None and listening.cancelling():
                    return  # the Redis client may raise its own error on cancellation
                logger.warning("the bell is away; readers poll each %s s", SAFETY_SECONDS)
                await asyncio.sleep(SAFETY_SECONDS)


BELL = Bell()


def ring(image_id: UUID) -> None:
    """Publish that an image's builds have changed. Call it after the commit."""
    BELL.ring(image_id)
