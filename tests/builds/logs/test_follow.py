"""A reader's way through a log that is being written."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from builds import runner
from builds.completion import settle_failed
from builds.failures import INTERRUPTED, Failure
from builds.logs.cursor import BadCursor, Cursor, Lines
from builds.logs.follow import Done, follow
from builds.logs.hub import hub
from builds.logs.lines import LogLine
from builds.logs.reader import PAGE_CHUNKS, Page, page
from builds.logs.reader_threads import in_reader
from builds.logs.store import CHUNK_LINES, FenceLost, append
from builds.models import Build
from builds.status import Status
from tests.conftest import Order, stand

pytestmark = pytest.mark.django_db(transaction=True)


def claimed(build: Build) -> Build:
    Build.objects.filter(pk=build.pk).move(Status.BUILDING, fence=1)
    build.refresh_from_db()
    return build


def lines(*texts: str) -> list[LogLine]:
    return [
        LogLine(stream="stdout", text=text, at=datetime(2026, 1, 1, tzinfo=UTC), step=None)
        for text in texts
    ]


async def told(build: Build, cursor: Cursor) -> tuple[list[str], Done]:
    texts: list[str] = []
    async for found in follow(build.image_id, cursor):
        if isinstance(found, Lines):
            texts += [line.text for line in found.lines]
        if isinstance(found, Done):
            return texts, found
    raise AssertionError("it ended without saying so")


@pytest.fixture
def finished(order: Order) -> Build:
    build = order(*(f"echo line {n}" for n in range(50)))
    runner.run(build.pk)
    build.refresh_from_db()
    return build


def test_a_reader_from_any_line_on_gets_each_remaining_line_once(finished: Build) -> None:
    everything, done = asyncio.run(told(finished, Cursor(1, 0)))
    assert len(everything) == finished.log_lines
    assert done.api_status == "built and pushed"
    for start in range(finished.log_lines + 1):
        assert asyncio.run(told(finished, Cursor(1, start)))[0] == everything[start:]


@pytest.fixture
def live(order: Order) -> Iterator[Build]:
    steps = [step for n in range(10) for step in (f"echo line {n}", "sleep 0.1")]
    build = order(*steps)

    def work() -> None:
        try:
            runner.run(build.pk)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    yield build
    worker.join(10)


def test_a_reader_of_a_live_build_sees_lines_before_it_ends(live: Build) -> None:
    async def watch() -> list[tuple[str, int]]:
        arrivals = []
        async with asyncio.timeout(20):
            async for found in follow(live.image_id, Cursor(1, 0)):
                if isinstance(found, Lines):
                    arrivals += [(line.text, found.start.line) for line in found.lines]
        return arrivals

    arrivals = asyncio.run(watch())
    texts = [text for text, _ in arrivals]
    assert [text for text in texts if text.startswith("line ")] == [f"line {n}" for n in range(10)]
    batches = {batch for text, batch in arrivals if text.startswith("line ")}
    assert len(batches) >= 3


def test_a_lost_attempt_is_followed_into_its_successor_without_an_end(order: Order) -> None:
    first = claimed(order("echo hello"))
    append(first, lines("one", "two"), step=0, steps=0)
    successor = settle_failed(first.pk, fence=1, to=Status.LOST, failure=INTERRUPTED)
    assert successor
    runner.run(successor.pk)
    texts, done = asyncio.run(told(first, Cursor(1, 1)))
    assert texts[0] == "two"
    assert texts[1].startswith("interrupted")
    assert "hello" in texts
    assert done.cursor.attempt == 2


def test_the_end_is_told_only_once_the_status_says_so(live: Build) -> None:
    async def watch() -> Build:
        async for found in follow(live.image_id, Cursor(1, 0)):
            if isinstance(found, Done):
                return await in_reader(Build.objects.get, pk=live.pk)
        raise AssertionError("it ended without saying so")

    build = asyncio.run(watch())
    assert build.state is Status.SUCCEEDED
    assert build.digest


def test_a_reader_hears_of_the_end_though_nobody_rang(order: Order) -> None:
    build = claimed(order("echo hello"))

    async def watch() -> Done:
        async with asyncio.timeout(5):
            async for found in follow(build.image_id, Cursor(1, 0)):
                if isinstance(found, Lines):
                    held = Build.objects.filter(pk=build.pk)
                    await in_reader(stand, held, Status.FAILED, failure_text="in silence")
                if isinstance(found, Done):
                    return found
        raise AssertionError("it ended without saying so")

    append(build, lines("one"), step=0, steps=0)
    assert asyncio.run(watch()).api_status == "error: in silence"


def test_one_look_reads_a_bounded_part_of_a_log(order: Order) -> None:
    build = claimed(order("echo hello"))
    for n in range(PAGE_CHUNKS + 3):
        append(build, lines(str(n)), step=0, steps=0)
    found = page(build.image_id, attempt=1, line=0)
    assert found
    assert len(found.lines) == PAGE_CHUNKS


def test_a_log_of_many_small_chunks_is_read_to_its_end(order: Order) -> None:
    build = claimed(order("echo hello"))
    for n in range(3 * PAGE_CHUNKS):
        append(build, lines(str(n)), step=0, steps=0)
    for line in (PAGE_CHUNKS, 2 * PAGE_CHUNKS, 3 * PAGE_CHUNKS - 1):
        found = page(build.image_id, attempt=1, line=line)
        assert found
        assert found.lines[0].text == str(line)


def test_a_chunk_is_stored_once_even_when_nobody_knows_whether_it_was(order: Order) -> None:
    build = claimed(order("echo hello"))
    copy = Build.objects.get(pk=build.pk)
    append(build, lines("one"), step=0, steps=0)
    append(copy, lines("one"), step=0, steps=0)
    found = page(build.image_id, attempt=1, line=0)
    assert found
    assert [line.text for line in found.lines] == ["one"]


def test_a_worker_without_its_fence_cannot_append(order: Order) -> None:
    build = claimed(order("echo hello"))
    Build.objects.filter(pk=build.pk).update(fence=2)
    with pytest.raises(FenceLost):
        append(build, lines("too late"), step=0, steps=0)
    assert Build.objects.get(pk=build.pk).log_lines == 0


def test_pages_are_cut_at_the_line_asked_for_within_large_chunks(order: Order) -> None:
    build = claimed(order("echo hello"))
    for start in range(0, 3 * CHUNK_LINES, CHUNK_LINES):
        append(build, lines(*map(str, range(start, start + CHUNK_LINES))), step=0, steps=0)
    for line in (0, 1, CHUNK_LINES - 1, CHUNK_LINES, 2 * CHUNK_LINES + 7, 3 * CHUNK_LINES - 1):
        found = page(build.image_id, attempt=1, line=line)
        assert found
        assert [each.text for each in found.lines] == list(map(str, range(line, 3 * CHUNK_LINES)))


@pytest.mark.parametrize("text", ["1:0", "2:17", "12:345:done"])
def test_a_cursor_reads_back_as_it_was_given(text: str) -> None:
    assert str(Cursor.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "0:1", "01:1", "1:-1", "1:1:", "1:1:end", "a:b", "1:1 ", "¹:1", "9" * 30 + ":1"],
)
def test_what_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.parse(text)


def test_a_log_that_trickled_in_is_read_to_its_end(order: Order) -> None:
    build = claimed(order("echo hello"))
    for n in range(100):
        append(build, lines(f"line {n}"), step=0, steps=0)
    failure = Failure(fault="user", code="step", text="the step failed")
    settle_failed(build.pk, fence=1, to=Status.FAILED, failure=failure)
    for start in (0, 1, 50, 99):
        texts, _ = asyncio.run(told(build, Cursor(1, start)))
        assert texts == [*(f"line {n}" for n in range(start, 100)), failure.text]


def test_readers_who_come_together_read_the_store_once(
    finished: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []

    def counted(*args: Any, line: int, **more: Any) -> Page | None:
        pages.append(line)
        return page(*args, line=line, **more)

    monkeypatch.setattr("builds.logs.follow.page", counted)

    async def together() -> list[tuple[list[str], Done]]:
        return await asyncio.gather(*(told(finished, Cursor(1, 0)) for _ in range(20)))

    found = asyncio.run(together())
    assert all(len(texts) == finished.log_lines for texts, _ in found)
    assert pages.count(0) == 1


def test_a_reader_behind_who_finds_nothing_in_what_others_asked_for_asks_again(
    order: Order,
) -> None:
    build = claimed(order("echo hello"))
    append(build, lines("one"), step=0, steps=0)

    async def watch() -> list[str]:
        with hub().join(build.image_id, 1) as feed:
            # As if somebody had asked before the line was there.
            empty = asyncio.get_running_loop().create_future()
            feed.reading[0] = empty
            asyncio.get_running_loop().call_later(0.1, feed.reading.pop, 0)
            asyncio.get_running_loop().call_later(0.1, empty.set_result, ([], None, False))
            async with asyncio.timeout(5):
                async for found in follow(build.image_id, Cursor(1, 0)):
                    if isinstance(found, Lines):
                        return [line.text for line in found.lines]
        raise AssertionError("it ended without saying so")

    assert asyncio.run(watch()) == ["one"]
