"""Converts BuildKit's progress into events of the Dockerfile's steps.

BuildKit reports vertexes: nodes of its graph, named `[stage 2/5] RUN make`. The number counts the
instructions of a stage that do work. The same instruction on the same parent in two stages is one
vertex. A vertex may start and complete more than once (its cache is looked up, then it runs), so
its end is reported only when it has stayed completed for SETTLE.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from builds.build_spec import BuildEvent, Step, StepOutput, StepState, StepUpdate, Stream

# BuildKit pads the number: `[ 2/10]`, `[build  2/10]`.
_NAME = re.compile(r"\[(?:([a-z0-9][a-z0-9_.-]*) )? *(\d{1,6})/\d{1,6}\] ")
_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}
_CANCELLED = "context canceled"
SETTLE = timedelta(milliseconds=200)
"""A vertex that completed and does not start again within this time has ended."""
MOST_VERTEXES = 20_000


@dataclass(slots=True)
class _Vertex:
    steps: tuple[int, ...]
    started: datetime | None = None
    completed: datetime | None = None
    cached: bool = False
    error: str = ""


@dataclass(slots=True)
class _Progress:
    started: datetime | None = None
    state: StepState | None = None
    vertexes: list[_Vertex] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSteps:
    """The steps of one stage that have vertexes."""

    steps: Mapping[int, Step]
    """The steps by their number in BuildKit's vertex names."""

    def find(self, number: int, text: str) -> Step | None:
        """The step of a vertex. A WORKDIR that changes nothing has no number (see `Step`)."""
        word = text.partition(" ")[0].upper()
        for at in (number, number + 1):
            step = self.steps.get(at)
            if step is not None and step.text.partition(" ")[0].upper() == word:
                return step
        return None

    def before(self, number: int) -> list[int]:
        """The `Step.number` of each earlier step. Empty if `number` is of another stage."""
        numbers = sorted(step.number for step in self.steps.values())
        return numbers[: numbers.index(number)] if number in numbers else []


class ProgressReader:
    """Turns progress objects into events. One thread drives it."""

    def __init__(
        self, stages: Mapping[str, StageSteps], alike: Mapping[int, Sequence[int]]
    ) -> None:
        """`alike` maps a step to all steps that share its vertex."""
        self._stages = stages
        self._alike = alike
        self._vertexes: dict[str, _Vertex] = {}
        self._steps: dict[int, _Progress] = {}

    def read(self, value: Mapping[str, Any]) -> Iterator[BuildEvent]:
        """The events of one object. Raises KeyError, TypeError or ValueError if it is malformed."""
        for vertex in value.get("vertexes") or ():
            yield from self._vertex(vertex)
        for log in value.get("logs") or ():
            yield self._log(log)
        for warning in value.get("warnings") or ():
            text = _decode(warning.get("short") or "").decode(errors="replace").strip()
            yield StepOutput("stderr", f"WARNING: {text}\n".encode())

    def settle(self, now: datetime) -> Iterator[StepUpdate]:
        """Report the end of steps whose vertexes have been complete for SETTLE."""
        for number, progress in self._steps.items():
            if progress.state is None and progress.started is not None:
                ended = [v.completed for v in progress.vertexes if v.started]
                if all(ended) and max(filter(None, ended)) + SETTLE < now:
                    yield self._end(number, progress, max(filter(None, ended)))

    def finish(self, *, success: bool) -> Iterator[StepUpdate]:
        """The build has ended: report the end of all steps that are still open."""
        for number, progress in self._steps.items():
            if progress.state is None and progress.started is not None:
                ends = [v.completed for v in progress.vertexes if v.completed]
                running = any(v.started and not v.completed for v in progress.vertexes)
                if running and not success:
                    for vertex in progress.vertexes:
                        vertex.error = vertex.error or _CANCELLED
                yield self._end(number, progress, max(ends, default=datetime.now(UTC)))

    @property
    def failed(self) -> int | None:
        """The first step that failed itself, not one cancelled because another failed."""
        for number, progress in sorted(self._steps.items()):
            if progress.state == "failed":
                return number
        return None

    def error_of(self, number: int) -> str:
        return next((v.error for v in self._steps[number].vertexes if v.error), "")

    def _vertex(self, value: Mapping[str, Any]) -> Iterator[StepUpdate]:
        digest = str(value["digest"])
        vertex = self._vertexes.get(digest)
        if vertex is None:
            if len(self._vertexes) >= MOST_VERTEXES:
                return
            vertex = self._vertexes[digest] = _Vertex(self._steps_of(str(value.get("name") or "")))
            for number in vertex.steps:
                self._steps.setdefault(number, _Progress()).vertexes.append(vertex)
        vertex.started = vertex.started or _moment(value.get("started"))
        vertex.completed = _moment(value.get("completed"))
        vertex.cached = bool(value.get("cached"))
        vertex.error = str(value.get("error") or "")
        for number in vertex.steps:
            progress = self._steps[number]
            if vertex.started and progress.started is None and not self._was_cached(progress):
                progress.started = vertex.started
                yield from self._end_before(number, vertex.started)
                yield StepUpdate(number, "started", vertex.started)
            elif vertex.started and progress.started is None and vertex.completed:
                progress.started = vertex.started
                progress.state = "cached"
                yield StepUpdate(number, "cached", vertex.completed)

    def _end_before(self, number: int, at: datetime) -> Iterator[StepUpdate]:
        """Report the end of the earlier steps of the stage: a step starts when they have ended."""
        for earlier in [each for stage in self._stages.values() for each in stage.before(number)]:
            progress = self._steps.get(earlier)
            if progress and progress.state is None and progress.started:
                ends = [v.completed for v in progress.vertexes if v.started]
                if all(end and end <= at for end in ends):
                    yield self._end(earlier, progress, max(filter(None, ends)))

    def _was_cached(self, progress: _Progress) -> bool:
        return all(v.cached and v.completed and not v.error for v in progress.vertexes if v.started)

    def _end(self, number: int, progress: _Progress, at: datetime) -> StepUpdate:
        errors = [v.error for v in progress.vertexes if v.error]
        if not errors:
            progress.state = "cached" if self._was_cached(progress) else "succeeded"
        elif all(_CANCELLED in error for error in errors):
            progress.state = "cancelled"
        else:
            progress.state = "failed"
        return StepUpdate(number, progress.state, at)

    def _log(self, log: Mapping[str, Any]) -> StepOutput:
        vertex = self._vertexes.get(str(log["vertex"]))
        step = min(vertex.steps, default=None) if vertex else None
        stream = _STREAMS.get(log.get("stream") or 1, "stderr")
        return StepOutput(stream, _decode(log.get("data") or ""), step)

    def _steps_of(self, name: str) -> tuple[int, ...]:
        found = _NAME.match(name)
        if found is None:
            return ()
        # If only one stage is built, BuildKit may omit its name.
        stages = self._stages
        only = next(iter(stages.values())) if len(stages) == 1 else None
        stage = only or stages.get(found[1] or "")
        if stage is None:
            return ()
        step = stage.find(int(found[2]), name[found.end() :])
        return tuple(self._alike.get(step.number, (step.number,))) if step else ()


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("data that is no base64") from error


def _moment(stamp: object) -> datetime | None:
    """Parse BuildKit's timestamps: they have nanoseconds, without trailing zeros."""
    if not stamp:
        return None
    text = str(stamp)
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return moment + timedelta(microseconds=int(fraction[:6].ljust(6, "0") or 0))
