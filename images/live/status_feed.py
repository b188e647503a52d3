"""A shared poller that publishes image status changes to all viewers of this process."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import getLogger
from uuid import UUID

from builds.logs.pubsub import BELL, SAFETY_SECONDS
from builds.logs.reader_threads import in_reader
from builds.queue.status import QueueView, shared_view
from builds.status import FINAL, Status, state_word
from common.outages import OUTAGES
from common.per_loop import PerLoop
from images.live.messages import GoneMessage, ImageMessage
from images.models import Image

READ = (
    *("public", "owner_id"),
    *(
        f"current__{name}"
        for name in ("number", "status", "failure_text", "step", "steps", "waiting_for")
    ),
)
GAP_SECONDS = 0.25
"""Least time between two polls, even with more notifications."""
logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moved:
    """An image and the state of its current build."""

    image: Image
    message: ImageMessage

    @property
    def ended(self) -> bool:
        return self.image.build.state in FINAL

    def differs(self, other: "Moved | None") -> bool:
        if other is None or self.message != other.message:
            return True
        return self.image.public != other.image.public


def look(also: Collection[UUID]) -> dict[UUID, Moved]:
    """Images whose build has not ended, and those in `also`, in a bounded number of queries.

    It reads only the first places of the queue, so the cost does not depend on its length.
    """
    view = shared_view.get()
    queue = (place.image_id for place in view.forecast.places.values())
    running = (each.image_id for each in view.slots.running)
    ids = {*queue, *running, *also}
    images = Image.objects.select_related("current").only(*READ).filter(pk__in=ids)
    return {image.pk: Moved(image, _message(image, view)) for image in images}


def moved(image: Image) -> Moved:
    """One image, in any state."""
    build = image.build
    view = shared_view.get(build.queued_at) if build.state is Status.QUEUED else None
    return Moved(image, _message(image, view))


def _message(image: Image, view: QueueView | None) -> ImageMessage:
    build = image.build
    queued = view is not None and build.state is Status.QUEUED
    position = view.position(build.pk) if view is not None and queued else None
    return {
        "type": "image",
        "image_id": str(image.pk),
        "attempt": build.number,
        "state": state_word(build.state),
        "status": build.api_status,
        "step": build.step,
        "steps": build.steps,
        "position": position,
        "waiting_for": build.waiting_for if queued else "",
    }


class Inbox:
    """The changes that one viewer has not received yet: the newest state of each image."""

    def __init__(self, may_see: Callable[[Image], bool]) -> None:
        self._may_see = may_see
        self._waiting: dict[UUID, ImageMessage | GoneMessage] = {}
        self._filled = asyncio.Event()

    def put(self, now: Moved | None, before: Moved | None = None) -> None:
        if now is not None and self._may_see(now.image):
            self._waiting[now.image.pk] = now.message
        elif before is not None and self._may_see(before.image):
            gone: GoneMessage = {"type": "gone", "image_id": str(before.image.pk)}
            self._waiting[before.image.pk] = gone
        if self._waiting:
            self._filled.set()

    async def take(self, seconds: float) -> list[ImageMessage | GoneMessage]:
        """The changes, or an empty list if none came within the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        self._filled.clear()
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())


class Moves:
    """The poller of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._known: dict[UUID, Moved] = {}
        self._inboxes: set[Inbox] = set()
        self._rung: set[UUID] = set()
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def told_to(self, inbox: Inbox) -> Iterator[asyncio.Event]:
        """Until the block ends, the inbox gets every change. It begins with all builds that have
        not ended; the event is set when these are there."""
        self._inboxes.add(inbox)
        for known in self._known.values():
            inbox.put(known)
        if self._task is None or self._task.done() or self._task.cancelling():
            self._task = self._loop.create_task(self._run())
        try:
            yield self._looked
        finally:
            self._inboxes.discard(inbox)
            if not self._inboxes:
                self._task.cancel()
                self._known = {}
                self._looked = asyncio.Event()

    def _heard(self, image_id: UUID) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._note, image_id)

    def _note(self, image_id: UUID) -> None:
        self._rung.add(image_id)
        self._wake.set()

    async def _run(self) -> None:
        with BELL.heard_by(self._heard):
            while True:
                rung, self._rung = self._rung, set()
                asked = rung | self._known.keys()
                try:
                    self._tell(asked, await in_reader(look, asked))
                    self._looked.set()
                except OUTAGES:
                    self._rung |= rung
                    logger.warning("the database is away; nobody is told what moves")
                    await asyncio.sleep(SAFETY_SECONDS)
                await asyncio.sleep(GAP_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAFETY_SECONDS):
                        await self._wake.wait()
                self._wake.clear()

    def _tell(self, asked: Collection[UUID], found: dict[UUID, Moved]) -> None:
        before = self._known
        self._known = {image_id: moved for image_id, moved in found.items() if not moved.ended}
        for image_id in found.keys() | set(asked):
            now, then = found.get(image_id), before.get(image_id)
            if now is None or now.differs(then):
                for inbox in self._inboxes:
                    inbox.put(now, then)


moves = PerLoop(Moves)
"""Returns the instance of the running event loop."""
