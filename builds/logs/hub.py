"""The bell: a worker rings for a build, readers of that build wake. It carries no line.

A lost ring costs a reader SAFETY_SECONDS, never a line: readers trust only the store.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from builds.conf import build_settings

SAFETY_SECONDS = 1.0
GROUP = "slipway.bell"
logger = getLogger(__name__)


class Hub:
    """One per process: who waits for which build."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[UUID, set[Watch]] = defaultdict(set)
        self._listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = (
            WeakKeyDictionary()
        )

    @contextmanager
    def watch(self, image_id: UUID) -> Iterator["Watch"]:
        """Registers the running loop as interested until the block ends."""
        watch = Watch(asyncio.get_running_loop())
        if build_settings().redis_url:
            self._listen(watch.loop)
        with self._lock:
            self._waiting[image_id].add(watch)
        try:
            yield watch
        finally:
            with self._lock:
                self._waiting[image_id].discard(watch)
                if not self._waiting[image_id]:
                    del self._waiting[image_id]

    def wake(self, image_id: UUID) -> None:
        """From any thread."""
        with self._lock:
            watches = list(self._waiting.get(image_id, ()))
        for watch in watches:
            if not watch.loop.is_closed():
                watch.loop.call_soon_threadsafe(watch.event.set)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        task = self._listeners.get(loop)
        if task is None or task.done():
            self._listeners[loop] = loop.create_task(self._receive())

    async def _receive(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                while True:
                    message: dict[str, Any] = await layer.receive(channel)
                    self.wake(UUID(message["image"]))
            except Exception:  # noqa: BLE001  (a bell that is away costs time, never a reader)
                logger.warning("the bell is away; readers poll each %s s", SAFETY_SECONDS)
                await asyncio.sleep(SAFETY_SECONDS)


class Watch:
    """One reader's place at the hub."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.event = asyncio.Event()

    async def wait(self) -> None:
        """Until the bell rings, but never longer than SAFETY_SECONDS."""
        try:
            async with asyncio.timeout(SAFETY_SECONDS):
                await self.event.wait()
        except TimeoutError:
            pass
        self.event.clear()


HUB = Hub()


def ring(image_id: UUID) -> None:
    """Says that something of this image's builds changed. Called after the commit, in a thread."""
    if not build_settings().redis_url:
        HUB.wake(image_id)
        return
    try:
        message = {"type": "bell", "image": str(image_id)}
        async_to_sync(get_channel_layer().group_send)(GROUP, message)
    except Exception:  # noqa: BLE001  (a bell that is away costs time, never a build)
        logger.warning("the bell could not be rung; readers poll each %s s", SAFETY_SECONDS)
