"""A finished log as bytes: what is measured is what is read."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builds import runner
from builds.completion import settle_failed
from builds.failures import INTERRUPTED
from builds.logs.archive import archive
from builds.logs.cursor import BadCursor, Cursor
from builds.logs.plain_text import LogGone, LogText
from builds.logs.store import append
from builds.models import Build, LogChunk
from builds.status import Status
from tests.builds.logs.test_follow import claimed, lines
from tests.conftest import Order, log_of

pytestmark = pytest.mark.django_db(transaction=True)

WORDS = ("plain", "über", "日本語", "", "🚢 sails")


def bytes_of(text: LogText, start: int = 0, stop: int | None = None) -> bytes:
    async def read() -> bytes:
        end = text.size if stop is None else stop
        return b"".join([part async for part in text.read(start, end)])

    return asyncio.run(read())


@pytest.fixture
def ended(order: Order) -> Build:
    """Lines of one to four bytes a letter, in many chunks."""
    build = claimed(order())
    for n in range(7):
        append(build, lines(*WORDS[n % 5 :], f"line {n}"), step=0, steps=0)
    settle_failed(build.pk, fence=build.fence, to=Status.CANCELLED, failure=INTERRUPTED)
    build.refresh_from_db()
    return build


def whole(build: Build) -> bytes:
    return "".join(f"{text}\n" for _, text in log_of(build)).encode()


def test_all_of_it_is_every_line_and_as_long_as_it_says(ended: Build) -> None:
    text = LogText([ended], 0)
    assert bytes_of(text) == whole(ended)
    assert text.size == len(whole(ended)) == ended.log_bytes


def test_only_the_log_of_one_attempt_goes_out_as_it_is_stored(order: Order) -> None:
    """Clients made with httpx cannot read two files as one."""
    build, other = order("echo one"), order("echo two")
    for each in (build, other):
        runner.run(each.pk)
        each.refresh_from_db()
        archive(each)
        each.refresh_from_db()
    assert LogText([build], 0).stored_size > 0
    assert LogText([build, other], 0).stored_size == 0


def test_from_any_line_on_it_is_what_remains(ended: Build) -> None:
    rest = whole(ended).splitlines(keepends=True)
    for line in range(ended.log_lines + 3):
        text = LogText([ended], line)
        assert bytes_of(text) == b"".join(rest[line:])
        assert text.size == len(b"".join(rest[line:]))


def test_any_bytes_of_it_are_those_bytes(ended: Build) -> None:
    content = whole(ended)

    @given(st.integers(0, len(content)), st.integers(0, len(content)), st.integers(0, 5))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(start: int, stop: int, line: int) -> None:
        text = LogText([ended], line)
        rest = b"".join(content.splitlines(keepends=True)[line:])
        assert bytes_of(text, start, min(stop, text.size)) == rest[start:stop]

    check()


def test_it_goes_on_where_a_lost_attempt_was_taken_over(order: Order) -> None:
    first = claimed(order("echo of the second"))
    append(first, lines("of the first"), step=0, steps=0)
    second = settle_failed(first.pk, fence=1, to=Status.LOST, failure=INTERRUPTED)
    assert second is not None
    runner.run(second.pk)
    text = LogText([first, second], 0)
    assert bytes_of(text) == whole(first) + whole(second)
    assert text.size == len(whole(first)) + len(whole(second))
    assert len({text.tag, LogText([second], 0).tag, LogText([first, second], 1).tag}) == 3


def test_a_log_that_goes_while_it_is_read_does_not_seem_to_end(ended: Build) -> None:
    text = LogText([ended], 0)
    LogChunk.objects.all().delete()
    with pytest.raises(LogGone):
        bytes_of(text)


@given(st.builds(Cursor, st.integers(1, 10**9 - 1), st.integers(0, 10**9 - 1), st.booleans()))
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(st.text() | st.from_regex(r"\A[0-9٣]{0,12}:[0-9]{0,12}(:done)?\n?\Z"))
def test_what_is_taken_as_a_cursor_is_what_would_be_written(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except BadCursor:
        return
    assert str(cursor) == text
