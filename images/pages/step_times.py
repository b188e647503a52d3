"""The steps of an attempt on a time axis, compared with those of the last good attempt."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.utils import timezone

from builds.logs.lines import since_1970
from builds.models import Build
from builds.status import FINAL
from common.humanize import duration

NOTICED_SECONDS = 1.0
"""Smaller differences between two attempts are ignored."""
TOUCHING_SECONDS = 0.1
"""Two steps with a smaller gap count as consecutive."""
SLOW_SHARE = 0.2
"""A step with this share of the total time made the build slow."""
LEAST_WIDTH = 0.3
"""In percent: shorter bars would be invisible."""

Key = tuple[str, str, int]
"""Stage, instruction, and the number of the step among equal ones in that stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A period of time, in percent of the axis."""

    left: float
    width: float

    @property
    def x(self) -> str:
        return f"{self.left:.2f}%"

    @property
    def size(self) -> str:
        return f"{self.width:.2f}%"


@dataclass(slots=True, kw_only=True)
class StepRow:
    """One step. Times are in seconds."""

    number: int
    stage: str
    dockerfile_line: int
    text: str
    state: str
    """waiting, running, cached, succeeded, failed or cancelled."""
    began: float | None
    """Seconds after the start of the attempt."""
    took: float | None
    bar: Bar | None
    log_line: int | None
    """The number of its heading line in the log, from 1."""
    before: float | None = None
    """Seconds that it took in the attempt of the comparison."""
    cached_before: bool = False
    critical: bool = False
    """Whether the build waited for this step alone."""
    slow: bool = False

    @property
    def difference(self) -> float | None:
        """The difference to the other attempt, if it is worth showing."""
        if self.took is None or self.before is None or self.state != "succeeded":
            return None
        found = self.took - self.before
        return found if abs(found) >= NOTICED_SECONDS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """All steps of an attempt by stage, and which of them took the time."""

    stages: list[tuple[str, list[StepRow]]]
    total: float | None
    """Seconds from the start of the attempt to its end, or until now."""
    prepared: Bar | None
    prepared_seconds: float | None
    """Seconds before the first step: unpacking the context."""
    pushed: Bar | None
    pushed_seconds: float | None
    ticks: list[tuple[str, str]]
    """Labels of the axis: position in percent, and the time there."""
    slowest: StepRow | None
    cached: int
    steps: int
    good: Build | None
    good_total: float | None
    difference: float | None


def step_times(build: Build, good: Build | None) -> StepTimes:
    """`good` is the attempt of the comparison. Both need their `step_list` and `step_times`."""
    total = _seconds(build.started_at, build.ended_at or timezone.now())
    rows = list(_rows(build, total))
    if good is not None:
        _compare(rows, good)
    _mark_critical(rows)
    slow = [row for row in rows if row.critical and total and (row.took or 0) > total * SLOW_SHARE]
    slowest = max(slow, key=lambda row: row.took or 0, default=None)
    if slowest is not None and (slowest.took or 0) >= NOTICED_SECONDS:
        slowest.slow = True
    else:
        slowest = None
    good_total = _seconds(good.started_at, good.ended_at) if good else None
    difference = total - good_total if total and good_total and build.state in FINAL else None
    first = min((row.began for row in rows if row.began is not None), default=None)
    pushing = _seconds(build.started_at, build.pushing_at)
    pushed = total - pushing if total is not None and pushing is not None else None
    return StepTimes(
        stages=[(stage, list(own)) for stage, own in groupby(rows, key=lambda row: row.stage)],
        total=total,
        prepared=_bar(0, first, total) if first else None,
        prepared_seconds=first,
        pushed=_bar(pushing, pushed, total) if pushing is not None else None,
        pushed_seconds=pushed,
        ticks=_ticks(total),
        slowest=slowest,
        cached=sum(row.state == "cached" for row in rows),
        steps=len(rows),
        good=good,
        good_total=good_total,
        difference=difference if difference and abs(difference) >= NOTICED_SECONDS else None,
    )


def _rows(build: Build, total: float | None) -> Iterator[StepRow]:
    start = since_1970(build.started_at) if build.started_at else None
    now = since_1970(timezone.now())
    headings: dict[int, int] = {}
    for step, line, *_ in build.log_steps:
        headings.setdefault(step, line + 1)
    for fact in build.step_facts:
        began = took = None
        if start is not None and fact["started"] is not None:
            began = max(0, fact["started"] - start) / 1e6
            took = max(0, (fact["ended"] or now) - fact["started"]) / 1e6
        yield StepRow(
            number=fact["number"],
            stage=fact["stage"],
            dockerfile_line=fact["dockerfile_line"],
            text=fact["text"],
            state=fact["state"],
            began=began,
            took=took,
            bar=_bar(began, took, total),
            log_line=headings.get(fact["number"]),
        )


def _compare(rows: Sequence[StepRow], good: Build) -> None:
    facts = good.step_facts
    keys = _keys((each["stage"], each["text"]) for each in facts)
    known: dict[Key, dict[str, Any]] = dict(zip(keys, facts, strict=True))
    for key, row in zip(_keys((row.stage, row.text) for row in rows), rows, strict=True):
        fact = known.get(key, {})
        row.cached_before = fact.get("state") == "cached"
        if fact.get("state") == "succeeded" and fact["started"] is not None and fact["ended"]:
            row.before = (fact["ended"] - fact["started"]) / 1e6


def _keys(names: Iterator[tuple[str, str]]) -> Iterator[Key]:
    seen: Counter[tuple[str, str]] = Counter()
    for name in names:
        yield (*name, seen[name])
        seen[name] += 1


def _mark_critical(rows: Sequence[StepRow]) -> None:
    """From the end backwards: before each step, the step that ended last before it began."""
    spans = [
        (row.began, row.began + row.took, row) for row in rows if row.began is not None and row.took
    ]
    reached: float | None = None
    for began, ended, row in sorted(spans, key=lambda span: span[1], reverse=True):
        if reached is None or (ended <= reached + TOUCHING_SECONDS and began < reached):
            row.critical = True
            reached = began


def _bar(began: float | None, took: float | None, total: float | None) -> Bar | None:
    if began is None or took is None or not total:
        return None
    left = min(100.0, 100 * began / total)
    width = min(100 - left, max(LEAST_WIDTH, 100 * took / total))
    return Bar(left=min(left, 100 - LEAST_WIDTH), width=max(LEAST_WIDTH, width))


def _ticks(total: float | None) -> list[tuple[str, str]]:
    """At most five labels, at round seconds."""
    if not total:
        return []
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200)
    apart = next((each for each in steps if total / each < 5), steps[-1])  # noqa: PLR2004
    count = min(4, int(total / apart))
    marks = [apart * at for at in range(1, count + 1)]
    labels = [f"{each:.1f} s" if apart < 1 else duration(each) for each in marks]
    return [
        (f"{100 * each / total:.2f}%", label) for each, label in zip(marks, labels, strict=True)
    ]


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return (end - begin).total_seconds() if begin and end else None
