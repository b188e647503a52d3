"""Scripted engine: plays a build from directives in the Dockerfile, for fast tests.

A step `RUN scripted: <verb> <rest>` plays its directive, or several separated by ` ;; `. Every
step also plays the directives in comments `#scripted: <verb> <rest>` below it:

    echo TEXT       a line on stdout          sleep SECONDS    no output, only ticks
    stderr TEXT     a line on stderr          until PATH       no output until a file exists
    raw TEXT        bytes on stdout, with     exit CODE        a RUN step fails with CODE
                    Python's escapes          fail CODE TEXT   BuildFailed with that code
    repeat N TEXT   N numbered lines          broken TEXT      EngineBroken
    long N TEXT     one line, N times TEXT
    cached          the step does not run: it ends as "cached"
    killed TEXT     BuildInterrupted

Stages run in parallel. A step that names another stage (FROM name, --from=name) waits for its end.

The resulting image is real: one small layer, and a different digest for each attempt.
"""

import gzip
import hashlib
import io
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal
from uuid import UUID

from builds.build_spec import (
    BuildEvent,
    BuildOutcome,
    BuildSpec,
    Dockerfile,
    Output,
    Step,
    StepOutput,
    StepState,
    StepUpdate,
)
from builds.engines.base import TICK_SECONDS, BuildFailed, BuildInterrupted, EngineBroken, Problem
from builds.engines.sandbox.layout import write_layout

PIPE_BYTES = 4096
"""How much `repeat` writes at once, as programs do that write to a pipe."""
STAGE_NAMED = re.compile(r"(?:^FROM\s+|--from=)(\S+)", re.IGNORECASE)
SCRIPTED = re.compile(r"(?:#|RUN )scripted:\s*(.*)")
DIRECTIVE = re.compile(r"(\w+)\s?(.*)")
BETWEEN = " ;; "


Played = Generator[BuildEvent | None, None, None]
"""Yields None while it waits."""
WAIT_SECONDS = 0.01


class ScriptedEngine:
    """Implements BuildEngine without starting any process."""

    name: Literal["buildkit", "scripted"] = "scripted"

    def problems(self) -> list[Problem]:
        return []

    def sweep(self, alive: frozenset[UUID]) -> None:
        """Nothing to do: no process or file outlives this process."""

    def build(self, spec: BuildSpec) -> Generator[BuildEvent, None, BuildOutcome]:
        if not spec.dockerfile.steps:
            raise BuildFailed("The Dockerfile is wrong: no FROM statement found", code="syntax")
        yield from _side_by_side(_Play(spec.dockerfile).stages())
        yield StepOutput("stdout", b"")
        return _write_image(spec)

    def discard(self, spec: BuildSpec) -> None:
        shutil.rmtree(spec.work, ignore_errors=True)

    def make_room(self, free_bytes: int) -> None:
        """Nothing to do: there is no cache."""


class _Play:
    """The steps of one build and what each of them plays."""

    def __init__(self, dockerfile: Dockerfile) -> None:
        self._steps = dockerfile.steps
        self._lines = dockerfile.text.split("\n")
        self._ended: set[str] = set()

    def stages(self) -> list[Played]:
        return [
            self._stage(stage, list(steps))
            for stage, steps in groupby(self._steps, key=attrgetter("stage"))
        ]

    def _stage(self, stage: str, steps: Sequence[Step]) -> Played:
        for step in steps:
            while not self._needed(step) <= self._ended:
                yield None
            yield from self._step(step)
        self._ended.add(stage)

    def _needed(self, step: Step) -> set[str]:
        stages = {each.stage for each in self._steps} - {step.stage}
        return stages & {name.lower() for name in STAGE_NAMED.findall(step.text)}

    def _step(self, step: Step) -> Played:
        directives = list(self._directives(step))
        if ("cached", "") in directives:
            yield _update(step, "cached")
            return
        if step.position is None and not step.base and not directives:
            return
        yield _update(step, "started")
        try:
            for verb, rest in directives:
                for output in _verb(verb)(rest):
                    yield StepOutput(*output, step.number) if output else None
        except BuildFailed:
            yield _update(step, "failed")
            raise
        yield _update(step, "succeeded")

    def _directives(self, step: Step) -> Iterator[tuple[str, str]]:
        following = [each.line for each in self._steps if each.line > step.line]
        stop = min(following, default=len(self._lines) + 1)
        for line in self._lines[step.line - 1 : stop - 1]:
            if scripted := SCRIPTED.fullmatch(line.strip()):
                for each in scripted[1].split(BETWEEN):
                    if directive := DIRECTIVE.fullmatch(each):
                        yield directive[1], directive[2]


def _update(step: Step, state: StepState) -> StepUpdate:
    return StepUpdate(step.number, state, datetime.now(UTC))


def _side_by_side(plays: Sequence[Played]) -> Generator[BuildEvent, None, None]:
    """Run the stages in turns, until all have ended or one has failed."""
    running: set[int] = set()
    ticked = time.monotonic()
    left = list(plays)
    try:
        while left:
            waits = True
            for play in list(left):
                try:
                    event = next(play)
                except StopIteration:
                    left.remove(play)
                    continue
                if event is None:
                    continue
                waits = False
                if isinstance(event, StepUpdate):
                    (running.add if event.state == "started" else running.discard)(event.step)
                yield event
            if waits and left:
                time.sleep(WAIT_SECONDS)
                if time.monotonic() - ticked >= TICK_SECONDS:
                    ticked = time.monotonic()
                    yield StepOutput("stdout", b"")
    except BuildFailed:
        for number in sorted(running):
            yield StepUpdate(number, "cancelled", datetime.now(UTC))
        raise


def _verb(verb: str) -> Callable[[str], Iterable[Output | None]]:
    try:
        return VERBS[verb]
    except KeyError:
        raise EngineBroken(f"no such directive: {verb}", code="script") from None


def _echo(text: str) -> Iterable[Output | None]:
    return [("stdout", f"{text}\n".encode())]


def _stderr(text: str) -> Iterable[Output | None]:
    return [("stderr", f"{text}\n".encode())]


def _raw(text: str) -> Iterable[Output | None]:
    return [("stdout", text.encode().decode("unicode_escape").encode("latin-1"))]


def _repeat(rest: str) -> Iterable[Output | None]:
    count, _, text = rest.partition(" ")
    piece = bytearray()
    for number in range(int(count)):
        piece += f"{number} {text}\n".encode()
        if len(piece) >= PIPE_BYTES:
            yield "stdout", bytes(piece)
            piece.clear()
    yield "stdout", bytes(piece)


def _long(rest: str) -> Iterable[Output | None]:
    count, _, text = rest.partition(" ")
    return [("stdout", text.encode() * int(count) + b"\n")]


def _sleep(seconds: str) -> Iterable[Output | None]:
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        yield None


def _until(path: str) -> Iterable[Output | None]:
    while not Path(path).exists():
        yield None


def _exit(code: str) -> Iterable[Output | None]:
    text = f"RUN failed with exit code {code}."
    yield "stderr", f"Error: {text}\n".encode()
    raise BuildFailed(text, code="step", exit_code=int(code))


def _fail(rest: str) -> Iterable[Output | None]:
    code, _, text = rest.partition(" ")
    yield "stderr", f"Error: {text}\n".encode()
    raise BuildFailed(text, code=code)


def _broken(text: str) -> Iterable[Output | None]:
    yield "stderr", f"Error: {text}\n".encode()
    raise EngineBroken(text, code="scripted")


def _killed(text: str) -> Iterable[Output | None]:
    yield "stdout", b""
    raise BuildInterrupted(text, code="scripted")


VERBS: dict[str, Callable[[str], Iterable[Output | None]]] = {
    "echo": _echo,
    "stderr": _stderr,
    "raw": _raw,
    "repeat": _repeat,
    "long": _long,
    "sleep": _sleep,
    "until": _until,
    "exit": _exit,
    "fail": _fail,
    "broken": _broken,
    "killed": _killed,
}


def _write_image(spec: BuildSpec) -> BuildOutcome:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        content = spec.dockerfile.text.encode()
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    diff_id = f"sha256:{hashlib.sha256(archive.getvalue()).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"slipway.build": str(spec.build_id)}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "scripted"}],
    }
    layer = gzip.compress(archive.getvalue(), mtime=0)
    return write_layout(spec.work / "layout", config=config, layers=[layer])
