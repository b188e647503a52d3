"""The pen: what reaches the store, and when."""

import base64

import pytest
from django.db import OperationalError

from builds.build_spec import StepOutput, Stream
from builds.logs import line_buffer, truncation
from builds.logs import writer as writer_module
from builds.logs.reader import page
from builds.logs.store import FenceLost, append
from builds.logs.writer import LogWriter
from builds.models import Build
from builds.status import Status
from tests.conftest import Order, log_of

pytestmark = pytest.mark.django_db


def pen(build: Build, *secrets: str) -> LogWriter:
    Build.objects.filter(pk=build.pk).move(Status.BUILDING, fence=1)
    build.refresh_from_db()
    return LogWriter(build, secrets=secrets, still_ours=lambda: None)


def write(log: LogWriter, stream: Stream, data: bytes, step: int | None = None) -> None:
    log.write(StepOutput(stream, data, step))


def test_lines_of_both_streams_keep_their_order(order: Order) -> None:
    build = order("echo hello")
    log = pen(build)
    write(log, "stdout", b"one\ntwo\n")
    write(log, "stderr", b"three\n")
    write(log, "stdout", b"four\n")
    log.finish()
    assert log_of(build) == [
        ("stdout", "one"),
        ("stdout", "two"),
        ("stderr", "three"),
        ("stdout", "four"),
    ]


def test_a_colour_goes_on_in_what_the_child_writes_and_not_in_what_slipway_says(
    order: Order,
) -> None:
    build = order("echo hello")
    log = pen(build)
    write(log, "stdout", b"\x1b[31mred\nred, ")
    log.say("said by us")
    write(log, "stdout", b"too\n")
    log.finish()
    assert [text for _, text in log_of(build)] == [
        "\x1b[31mred",
        "\x1b[31mred, ",
        "said by us",
        "\x1b[31mtoo",
    ]


def test_a_secret_is_masked_however_it_is_cut_and_spelled(order: Order) -> None:
    build = order("echo hello")
    secret = "hunter2-and-more"
    log = pen(build, secret)
    write(log, "stdout", b"it is hunter2")
    write(log, "stdout", b"-and-more, and ")
    write(log, "stdout", base64.b64encode(secret.encode()) + b"\n")
    log.say(f"said by us: {secret}")
    log.finish()
    told = "\n".join(text for _, text in log_of(build))
    assert "hunter2" not in told
    assert base64.b64encode(secret.encode()).decode() not in told
    assert "said by us" in told


def test_a_database_that_is_away_for_a_moment_costs_no_line(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = order("echo hello")
    log = pen(build)

    def away(*_: object, **__: object) -> None:
        raise OperationalError("planted")

    monkeypatch.setattr(writer_module, "append", away)
    monkeypatch.setattr("django.db.connection.close", lambda: None)
    write(log, "stdout", b"one\n")
    with pytest.raises(OperationalError):
        log.finish()
    monkeypatch.setattr(writer_module, "append", append)
    write(log, "stdout", b"two\n")
    log.finish()
    assert [text for _, text in log_of(build)] == ["one", "two"]


def test_a_log_that_is_too_long_keeps_both_ends_and_counts_what_went(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncation, "HEAD_BYTES", 1_000)
    monkeypatch.setattr(truncation, "TAIL_BYTES", 2_000)
    monkeypatch.setattr(writer_module, "FLUSH_BYTES", 100)
    build = order("echo hello")
    log = pen(build)
    sent = [f"line {n:05}" for n in range(1_000)]
    for text in sent:
        write(log, "stdout", text.encode() + b"\n")
    log.finish()
    told = [text for _, text in log_of(build)]
    [marker] = [text for text in told if "left out" in text]
    at = told.index(marker)
    assert told[:at] == sent[:at]
    assert told[at + 1 :] == sent[-(len(told) - at - 1) :]
    assert f" {len(sent) - len(told) + 1} lines" in marker
    assert 2_500 < sum(len(text) + 1 for text in told) < 3_500


def test_lines_keep_the_numbers_that_they_had_before_others_went(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncation, "HEAD_LINES", 100)
    monkeypatch.setattr(truncation, "TAIL_LINES", 200)
    monkeypatch.setattr(writer_module, "FLUSH_BYTES", 100)
    build = order("echo hello")
    log = pen(build)
    for n in range(1_000):
        write(log, "stdout", b"line %d\n" % n)
    log.finish()
    last = page(build.image_id, attempt=1, line=999)
    middle = page(build.image_id, attempt=1, line=500)
    assert last
    assert middle
    assert [line.text for line in last.lines] == ["line 999"]
    assert "left out" in middle.lines[0].text
    following = page(build.image_id, attempt=1, line=middle.stop)
    assert following
    assert following.lines[0].text == f"line {middle.stop}"


def test_what_waits_for_the_database_goes_to_disk_and_comes_back_in_order(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_buffer, "MEMORY_BYTES", 1_000)
    monkeypatch.setattr(line_buffer, "DISK_BYTES", 2_000)
    monkeypatch.setattr(writer_module, "FLUSH_BYTES", 100)
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr("django.db.connection.close", lambda: None)
    build = order("echo hello")
    asked = []

    def still_ours() -> None:
        asked.append(1)
        if len(asked) == 5:
            monkeypatch.setattr(writer_module, "append", append)

    Build.objects.filter(pk=build.pk).move(Status.BUILDING, fence=1)
    build.refresh_from_db()
    log = LogWriter(build, secrets=(), still_ours=still_ours)

    def away(*_: object, **__: object) -> None:
        raise OperationalError("planted")

    monkeypatch.setattr(writer_module, "append", away)
    sent = [f"line {n:05}" for n in range(2_000)]
    for text in sent:
        write(log, "stdout", text.encode() + b"\n")
    log.finish()
    assert len(asked) == 5
    assert [text for _, text in log_of(build)] == sent


def test_tries_that_take_long_leave_as_much_time_to_read_what_the_child_prints(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.db.connection.close", lambda: None)
    log = pen(order("echo hello"))
    now = [100.0]
    tries = []

    def away(*_: object, **__: object) -> None:
        tries.append(now[0])
        now[0] += 5
        raise OperationalError("planted")

    monkeypatch.setattr(writer_module, "monotonic", lambda: now[0])
    monkeypatch.setattr(writer_module, "append", away)
    while now[0] < 130:
        write(log, "stdout", b"a line\n")
        now[0] += 0.25
    assert tries == [100, 110, 120]


def test_a_pen_without_its_fence_says_so(order: Order) -> None:
    build = order("echo hello")
    log = pen(build)
    Build.objects.filter(pk=build.pk).update(fence=7)
    with pytest.raises(FenceLost):
        write(log, "stdout", b"too late\n")
