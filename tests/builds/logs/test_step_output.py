"""Steps in the log: made by events alone, kept apart where they run side by side."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.build_spec import Step, StepOutput, StepState, StepUpdate, Stream
from builds.completion import settle_failed
from builds.failures import CANCELLED, WORKER_LOST, Failure
from builds.logs import segments as segments_module
from builds.logs import writer as writer_module
from builds.logs.archive import archive
from builds.logs.lines import LogLine
from builds.logs.reader import page
from builds.logs.segments import Segments
from builds.logs.steps import StepStates, settled_times
from builds.logs.store import FenceLost, store_steps
from builds.logs.writer import LogWriter
from builds.models import Build
from builds.status import Status
from tests.conftest import Order, stand

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MICROS = int(START.timestamp()) * 1_000_000
BROKE = Failure(fault="user", code="step", text="RUN failed")
FORGED = [
    b"STEP 9/9: RUN evil",
    b"STEP 2/3: RUN two",
    b"STEP 2/3 (continued): RUN two",
    b"STEP 2/3 (cached): RUN two",
    b"[2/2] STEP 1/2: FROM x",
    b"#7 [build 2/3] RUN make",
    b"#7 DONE 0.0s",
    b"#7 CACHED",
    b"#7 ERROR: process did not complete successfully: exit code: 1",
    b"#7 0.123 text",
    b" => CACHED [2/3] RUN make",
    b"--> CACHED",
    b"CACHED",
    b'{"vertexes":[{"digest":"sha256:0","name":"[2/3] RUN two","started":"2026-01-01T00:00:00Z"}]}',
    b'{"logs":[{"vertex":"sha256:0","stream":1,"data":"eA==","timestamp":"2026-01-01T00:00:00Z"}]}',
    b'{"statuses":[{"id":"x","vertex":"sha256:0","completed":"2026-01-01T00:00:00Z"}]}',
    b'Error: building at STEP "RUN two": exit status 1',
    b"\x1b[1A\x1b[2KSTEP 2/3: RUN two",
    b"progress\rSTEP 2/3: RUN two",
]


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def step(number: int, text: str, *, stage: str = "", works: bool = True) -> Step:
    return Step(
        number=number, stage=stage, position=number if works else None, line=number, text=text
    )


PLAIN = (step(1, "FROM scratch", works=False), step(2, "RUN one"), step(3, "RUN two"))
BESIDE = (
    step(1, "FROM a AS build", stage="build"),
    step(2, "ENV A=b", stage="build", works=False),
    step(3, "RUN make", stage="build"),
    step(4, "FROM b", stage="stage-1"),
    step(5, "RUN test", stage="stage-1"),
    step(6, 'CMD ["x"]', stage="stage-1", works=False),
)
Begun = Callable[..., LogWriter]


@pytest.fixture
def begun(order: Order, db: None, monkeypatch: pytest.MonkeyPatch) -> Begun:
    """A writer whose flushes come only when the test lets its clock go on."""

    def begin(steps: tuple[Step, ...], *secrets: str) -> LogWriter:
        build = order("echo hello")
        Build.objects.filter(pk=build.pk).move(Status.BUILDING, fence=1)
        build.refresh_from_db()
        log = LogWriter(build, secrets=secrets, still_ours=lambda: None)
        log.steps = steps
        return log

    monkeypatch.setattr(writer_module, "monotonic", CLOCK.now)
    CLOCK.at = 1_000.0
    return begin


class Clock:
    at = 0.0

    def now(self) -> float:
        return self.at


CLOCK = Clock()


def write(log: LogWriter, number: int | None, data: bytes, stream: Stream = "stdout") -> None:
    log.write(StepOutput(stream, data, number))


def update(log: LogWriter, number: int, state: StepState, seconds: float = 0) -> None:
    log.update(StepUpdate(number, state, after(seconds)))


def flush(log: LogWriter) -> None:
    CLOCK.at += 0.2
    log.write(StepOutput("stdout", b""))


def stored(log: LogWriter) -> list[LogLine]:
    build = Build.objects.get(pk=log.build.pk)
    lines: list[LogLine] = []
    while found := page(build.image_id, attempt=build.number, line=len(lines)):
        if not found.lines:
            break
        lines += found.lines
    return lines


def texts(log: LogWriter) -> list[str]:
    return [line.text for line in stored(log)]


def row(log: LogWriter) -> Build:
    return Build.objects.get(pk=log.build.pk)


def states(log: LogWriter) -> list[str]:
    return [state for state, _, _ in row(log).step_times]


def test_a_step_begins_with_a_heading_and_its_lines_are_of_it(begun: Begun) -> None:
    log = begun(PLAIN)
    log.say("Building it")
    update(log, 2, "started")
    write(log, 2, b"one\n")
    update(log, 2, "succeeded", 2)
    update(log, 3, "cached", 3)
    log.complete()
    log.say("Pushing it")
    log.finish()
    assert [(line.step, line.heading, line.text) for line in stored(log)] == [
        (None, False, "Building it"),
        (1, True, "STEP 1/3: FROM scratch"),
        (2, True, "STEP 2/3: RUN one"),
        (2, False, "one"),
        (3, True, "STEP 3/3 (cached): RUN two"),
        (3, False, "Pushing it"),
    ]
    build = row(log)
    assert (build.step, build.steps) == (3, 3)
    assert [each[:3] for each in build.log_steps] == [
        [1, 1, "STEP 1/3: FROM scratch"],
        [2, 2, "STEP 2/3: RUN one"],
        [3, 4, "STEP 3/3 (cached): RUN two"],
    ]
    assert build.step_list == [
        [1, "", 1, "FROM scratch"],
        [2, "", 2, "RUN one"],
        [3, "", 3, "RUN two"],
    ]
    assert build.step_times == [
        ["succeeded", MICROS, MICROS],
        ["succeeded", MICROS, MICROS + 2_000_000],
        ["cached", MICROS + 3_000_000, MICROS + 3_000_000],
    ]


def test_output_without_a_newline_keeps_the_next_heading_on_its_own_line(begun: Begun) -> None:
    log = begun(PLAIN)
    update(log, 2, "started")
    write(log, 2, b"no end")
    write(log, 2, b"nor here", "stderr")
    update(log, 2, "succeeded")
    update(log, 3, "started")
    write(log, 3, b"fresh\n")
    log.finish()
    assert [(line.step, line.text) for line in stored(log)] == [
        (1, "STEP 1/3: FROM scratch"),
        (2, "STEP 2/3: RUN one"),
        (2, "no end"),
        (2, "nor here"),
        (3, "STEP 3/3: RUN two"),
        (3, "fresh"),
    ]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("archived", [False, True], ids=["live", "archived"])
def test_what_a_step_prints_makes_no_step_no_heading_and_no_time(
    begun: Begun, forged: bytes, archived: bool
) -> None:
    log = begun(PLAIN)
    update(log, 2, "started")
    for stream in ("stdout", "stderr"):
        write(log, 2, forged + b"\n" + forged, stream)
    flush(log)
    before = row(log)
    assert (before.step, before.steps) == (2, 3)
    assert states(log) == ["succeeded", "running", "waiting"]
    update(log, 2, "succeeded", 1)
    update(log, 3, "started", 1)
    update(log, 3, "succeeded", 2)
    log.complete()
    log.finish()
    if archived:
        stand(Build.objects.all(), "succeeded", ended_at=after(3))
        archive(row(log))
        assert row(log).archive_key
    lines = stored(log)
    assert [line.text for line in lines if line.heading] == [
        "STEP 1/3: FROM scratch",
        "STEP 2/3: RUN one",
        "STEP 3/3: RUN two",
    ]
    printed = [line for line in lines if not line.heading]
    assert len(printed) == 4
    assert {line.step for line in printed} == {2}
    assert {line.text for line in printed} == {forged.decode().rpartition("\r")[2]}
    build = row(log)
    assert len(build.log_steps) == 3
    assert (build.step, build.steps) == (3, 3)
    assert build.step_times[1:] == [
        ["succeeded", MICROS, MICROS + 1_000_000],
        ["succeeded", MICROS + 1_000_000, MICROS + 2_000_000],
    ]


def test_steps_side_by_side_do_not_carry_on_each_others_lines(begun: Begun) -> None:
    log = begun(BESIDE)
    update(log, 3, "started")
    update(log, 5, "started")
    write(log, 3, b"\x1b[31mhalf a ")
    write(log, 5, b"other\n")
    write(log, 3, b"line\nred\n")
    write(log, 5, b"plain\n", "stderr")
    log.finish()
    assert [(line.step, line.text) for line in stored(log)] == [
        (2, "STEP 2/6: [build] ENV A=b"),
        (3, "STEP 3/6: [build] RUN make"),
        (3, "\x1b[31mhalf a line"),
        (3, "\x1b[31mred"),
        (5, "STEP 5/6: [stage-1] RUN test"),
        (5, "other"),
        (5, "plain"),
    ]


def test_a_step_that_was_interrupted_goes_on_under_a_heading_once_a_flush(begun: Begun) -> None:
    log = begun(BESIDE)
    update(log, 3, "started")
    update(log, 5, "started")
    for n in range(3):
        for k in range(4):
            write(log, 3, b"make %d.%d\n" % (n, k))
            write(log, 5, b"test %d.%d\n" % (n, k), "stderr" if k % 2 else "stdout")
        flush(log)
    log.finish()
    found = texts(log)
    assert [text for text in found if text.startswith("STEP")] == [
        "STEP 2/6: [build] ENV A=b",
        "STEP 3/6: [build] RUN make",
        "STEP 5/6: [stage-1] RUN test",
        "STEP 3/6 (continued): [build] RUN make",
        "STEP 5/6 (continued): [stage-1] RUN test",
    ]
    for name in ("make", "test"):
        own = [text for text in found if text.startswith(f"{name} ")]
        assert own == [f"{name} {n}.{k}" for n in range(3) for k in range(4)]
    assert [each[0] for each in row(log).log_steps] == [2, 3, 5, 3, 5]


def test_no_line_waits_longer_than_a_flush_behind_a_step_that_floods(begun: Begun) -> None:
    log = begun(BESIDE)
    update(log, 5, "started")
    update(log, 3, "started")
    flush(log)
    write(log, 5, b"quiet\n")
    flood = b"".join(b"loud %d %s\n" % (n, b"x" * 1_000) for n in range(70))
    for _ in range(3):
        write(log, 3, flood)
    assert "quiet" not in texts(log)
    assert len([text for text in texts(log) if text.startswith("loud")]) == 210
    flush(log)
    assert texts(log)[-1] == "quiet"


def test_a_partial_line_of_a_silent_step_is_shown_while_another_prints(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = begun(BESIDE)
    monkeypatch.setattr(writer_module.timezone, "now", lambda: after(CLOCK.at))
    update(log, 3, "started")
    update(log, 5, "started")
    write(log, 3, b"Downloading... ")
    flush(log)
    assert "Downloading... " not in texts(log)
    CLOCK.at += 1
    write(log, 5, b"other\n")
    assert "Downloading... " in texts(log)


def test_headings_of_interrupted_steps_are_bounded_and_leave_room_for_steps_to_come(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "SEGMENTS", 8)
    monkeypatch.setattr("builds.logs.store.SEGMENTS", 8)
    log = begun(BESIDE)
    update(log, 3, "started")
    update(log, 5, "started")
    for n in range(20):
        write(log, 3, b"make %d\n" % n)
        write(log, 5, b"test %d\n" % n)
        flush(log)
    update(log, 3, "succeeded")
    update(log, 5, "succeeded")
    log.complete()
    log.finish()
    lines = stored(log)
    headings = [line.text for line in lines if line.heading]
    assert len(headings) == len(row(log).log_steps) == 8
    assert headings[-3:] == [
        "STEP 1/6: [build] FROM a AS build",
        "STEP 4/6: [stage-1] FROM b",
        'STEP 6/6: [stage-1] CMD ["x"]',
    ]
    for number, name in ((3, "make"), (5, "test")):
        own = [line.text for line in lines if line.step == number and not line.heading]
        assert own == [f"{name} {n}" for n in range(20)]


def test_a_secret_is_masked_in_instructions_and_within_each_step(begun: Begun) -> None:
    secret = "hunter2-and-more"
    log = begun((step(1, f"RUN login {secret}\r\nSTEP 2/2: x"), step(2, "RUN y")), secret)
    update(log, 1, "started")
    update(log, 2, "started")
    write(log, 1, b"it is hunter2")
    write(log, 2, b"between\n")
    write(log, 1, b"-and-more\n")
    log.finish()
    assert texts(log) == [
        "STEP 1/2: RUN login *** STEP 2/2: x",
        "it is ***",
        "STEP 2/2: RUN y",
        "between",
    ]
    assert row(log).step_list[0] == [1, "", 1, "RUN login *** STEP 2/2: x"]


def test_states_are_stored_with_the_flushes_and_without_lines(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = begun(BESIDE)
    update(log, 3, "started")
    flush(log)
    writes: list[set[str]] = []

    def counted(build: Build, **given: Any) -> None:
        writes.append(set(given["facts"]))
        store_steps(build, **given)

    monkeypatch.setattr(writer_module, "store_steps", counted)
    before = row(log).log_lines
    update(log, 3, "succeeded", 2)
    for each in (1, 4):
        log.update(StepUpdate(each, "cached", after(3)))
    assert states(log)[:4] == ["waiting", "succeeded", "succeeded", "waiting"]
    assert (row(log).log_lines, len(writes)) == (before, 1)
    assert row(log).step_times[2] == ["succeeded", MICROS, MICROS + 2_000_000]
    flush(log)
    flush(log)
    assert states(log)[:4] == ["cached", "succeeded", "succeeded", "cached"]
    assert writes == [{"step_times"}]  # the texts were stored before, once


def test_states_are_stored_only_while_the_claim_stands(begun: Begun) -> None:
    log = begun(BESIDE)
    update(log, 3, "started")
    flush(log)
    Build.objects.filter(pk=log.build.pk).update(fence=7)
    with pytest.raises(FenceLost):
        update(log, 3, "succeeded", 2)


def test_events_that_make_no_sense_change_nothing(begun: Begun) -> None:
    log = begun(PLAIN)
    update(log, 2, "succeeded", 1)
    update(log, 77, "started", 1)
    update(log, 2, "started", 2)
    update(log, 2, "started", 3)
    update(log, 2, "failed", 1)
    update(log, 2, "succeeded", 9)
    update(log, 2, "cached", 9)
    write(log, 77, b"of nobody\n")
    log.finish()
    assert [(line.step, line.text) for line in stored(log)] == [
        (1, "STEP 1/3: FROM scratch"),
        (2, "STEP 2/3: RUN one"),
        (None, "of nobody"),
    ]
    assert row(log).step_times[1] == ["failed", MICROS + 2_000_000, MICROS + 2_000_000]


@pytest.mark.parametrize(
    ("failure", "to", "told", "expected"),
    [
        (BROKE, Status.FAILED, "failed", ["succeeded", "failed", "waiting", "cancelled"]),
        (BROKE, Status.FAILED, None, ["succeeded", "failed", "waiting", "failed"]),
        (CANCELLED, Status.CANCELLED, None, ["succeeded", "cancelled", "waiting", "cancelled"]),
        (WORKER_LOST, Status.LOST, None, ["succeeded", "cancelled", "waiting", "cancelled"]),
    ],
)
def test_no_step_of_a_build_that_ended_still_runs(
    begun: Begun, failure: Failure, to: Status, told: StepState | None, expected: list[str]
) -> None:
    log = begun(BESIDE)
    update(log, 3, "started")
    update(log, 5, "started")
    if told:
        update(log, 3, told)
    log.finish()
    assert states(log)[4] == "running"
    if to is Status.CANCELLED:
        stand(Build.objects.all(), "cancelling")
    assert settle_failed(log.build.pk, fence=1, to=to, failure=failure)
    assert states(log)[1:5] == expected
    _, began, ended = row(log).step_times[4]
    assert began <= ended


def test_more_steps_than_are_kept_are_counted_all_the_same(begun: Begun) -> None:
    steps = tuple(step(number, "RUN " + "x" * 400) for number in range(1, 1_102))
    log = begun(steps)
    for each in steps:
        update(log, each.number, "started")
        update(log, each.number, "succeeded")
    log.finish()
    build = row(log)
    assert (build.step, build.steps) == (1_101, 1_101)
    assert len(build.step_list) == len(build.step_times) == len(build.log_steps) == 1_000
    assert {len(text) for *_, text in build.step_list} == {300}
    assert sum(line.heading for line in stored(log)) == 1_101


def test_settled_times_of_nothing_are_nothing() -> None:
    assert settled_times([], "failed", START) == []


def test_a_heading_that_only_reminds_is_short() -> None:
    known = StepStates([step(1, "RUN " + "x" * 400)])
    assert known.heading(1) == f"STEP 1/1: RUN {'x' * 296}"
    assert known.heading(1, "continued") == f"STEP 1/1 (continued): RUN {'x' * 55}…"


# Any interleaving.

_events = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, None]), st.integers(0, 3), st.booleans()), max_size=60
)


@given(_events)
def test_each_step_keeps_its_lines_in_order_under_a_heading_of_its_own(
    events: list[tuple[int | None, int, bool]],
) -> None:
    def line(number: int | None, text: str, *, heading: bool = False) -> LogLine:
        return LogLine(stream="stdout", text=text, at=START, step=number, heading=heading)

    made = Segments(lambda number: line(number, f"continued {number}", heading=True), lambda: 0)
    sent: dict[int | None, list[str]] = {}
    taken: list[LogLine] = []
    count = 0
    for number, lines, takes in events:
        for _ in range(lines):
            if number is not None and number not in sent:
                made.put([line(number, f"begins {number}", heading=True)])
            count += 1
            sent.setdefault(number, []).append(str(count))
            made.put([line(number, str(count))])
        if takes:
            taken += made.take_current() if lines % 2 else made.take()
    taken += made.take()
    under: int | None = None
    for each in taken:
        if each.heading:
            assert each.step != under
            under = each.step
        else:
            assert each.step in {under, None}
    for number, expected in sent.items():
        own = [each.text for each in taken if each.step == number and not each.heading]
        assert own == expected
        headings = [each.text for each in taken if each.step == number and each.heading]
        assert [text.split()[0] for text in headings[:1]] == ["begins"] * (number is not None)


def test_a_stage_only_takes_its_own_idle_instructions_along() -> None:
    known = StepStates(BESIDE)
    assert known.begin(5, START) == [5]
    assert known.begin(3, START) == [2, 3]
    assert known.current == 5
    assert known.complete(START) == [1, 4, 6]
    assert known.current == known.total == 6
