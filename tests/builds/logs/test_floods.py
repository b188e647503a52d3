"""Lines that are next to nothing cost a bounded part at once, wherever they are read."""

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from builds.logs import follow as module
from builds.logs.archive_format import FRAME_LINES, FrameWriter, Index
from builds.logs.cursor import Cursor, Lines
from builds.logs.hub import WINDOW_LINES, Feed
from builds.logs.lines import LogLine
from builds.logs.reader import PAGE_LINES, Asked, look, page
from builds.logs.store import CHUNK_LINES, append
from builds.models import Build
from builds.status import Status
from tests.conftest import Order

TEXTS = pytest.mark.parametrize("text", ["", "\0", "\ufffd\x1b"], ids=["blank", "zeros", "binary"])
CHUNKS = 8


def lines(count: int, text: str) -> list[LogLine]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [LogLine(stream="stdout", text=text, at=at, step=None)] * count


@pytest.fixture
def flooded(order: Order, text: str) -> Build:
    """A running build that has printed several chunks."""
    build = order("echo hello")
    Build.objects.filter(pk=build.pk).move(Status.BUILDING, fence=1)
    build.refresh_from_db()
    for _ in range(CHUNKS):
        append(build, lines(CHUNK_LINES, text), step=0, steps=0)
    return build


@TEXTS
def test_a_frame_of_an_archive_holds_few_lines(text: str) -> None:
    file = io.BytesIO()
    writer = FrameWriter(file)
    count = 3 * FRAME_LINES + 5
    for line in lines(count, text):
        writer.add(line)
    writer.finish()
    frames = Index.read(file).frames
    assert sum(frame.lines for frame in frames) == count
    assert max(frame.lines for frame in frames) == FRAME_LINES
    [last] = [frame for frame in frames if frame.first <= count - 1 < frame.stop]
    assert len(list(Index.read(file).lines(file, last))) == 5


@TEXTS
@pytest.mark.django_db(transaction=True)
def test_a_page_holds_few_lines(flooded: Build, text: str) -> None:
    found = page(flooded.image_id, attempt=1, line=0)
    assert found
    assert PAGE_LINES <= len(found.lines) < PAGE_LINES + CHUNK_LINES


@TEXTS
@pytest.mark.django_db(transaction=True)
def test_what_is_kept_for_readers_holds_few_lines(flooded: Build, text: str) -> None:
    feed = Feed(flooded.image_id, 1)
    seen = look([Asked(flooded.image_id, 1, 0)])[flooded.image_id, 1]
    feed.take(seen._replace(head=seen.head, chunks=[]))
    feed.line = feed._seq = 0
    feed.take(seen)
    assert feed.line == CHUNKS * CHUNK_LINES
    kept = _kept(feed)
    assert 0 < kept <= WINDOW_LINES < feed.line


def _kept(feed: Feed) -> int:
    first = next(line for line in range(feed.line) if feed.since(line) is not None)
    return feed.line - first


def test_others_have_their_turn_between_any_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes all at once never lets go of the loop by itself."""
    batches = [Lines(Cursor(1, at), lines(1, "")) for at in range(CHUNKS)]
    found = iter([(batches, None, False), ([], None, True)])

    async def all_at_once(*_: Any) -> Any:
        return next(found)

    monkeypatch.setattr(module, "_next", all_at_once)
    turns = asyncio.run(_turns())
    assert len(turns) == CHUNKS
    assert all(now > before for before, now in pairwise(turns))


async def _turns() -> Sequence[int]:
    """How often others had had their turn when each batch came."""
    count = 0

    async def others() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    reading = module.follow(uuid4(), Cursor(1, 0))
    turns = [count async for told in reading if isinstance(told, Lines)]
    other.cancel()
    return turns
