"""The Protocol that every engine implements, including the scripted one, and its exceptions."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from builds.build_spec import BuildEvent, BuildOutcome, BuildSpec

TICK_SECONDS = 0.1
"""Longest time without an event. Also how often the log of a slow build is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is missing on this machine, and what to do about it."""

    code: str
    """Stable and lower-case, such as `helper-missing`."""
    text: str
    hint: str
    fatal: bool
    """True if no build can run. False if builds run without something: network, memory limit."""


class EngineError(Exception):
    """A build ended without an image. `text` is one line for the build's owner."""

    def __init__(self, text: str, *, code: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.exit_code = exit_code


class BuildFailed(EngineError):
    """The user's fault: a step failed, the Dockerfile is wrong, a base image does not exist.

    Codes: `step`, `syntax`, `base`, `context`, `memory`, `disk`. `exit_code` is the exit code of
    the RUN step, if one failed.
    """


class EngineBroken(EngineError):
    """Slipway's fault: the engine did not start or did not work. Operators should investigate."""


class BuildInterrupted(EngineBroken):
    """A process that the build needs was killed from outside. The build may be retried."""


class BuildEngine(Protocol):
    """Builds images in sandboxes.

    1. `problems()`, called at start: what the machine lacks.
    2. `sweep(alive)`, called at start and periodically: removes the leftovers of attempts that no
       longer run (processes, mounts, folders, control groups).
    3. `build(spec)` is a generator of events. It yields each event within milliseconds, and at
       least every TICK_SECONDS a StepOutput with empty bytes. It returns a BuildOutcome or raises
       BuildFailed or EngineBroken. Closing the generator at any time kills every process of the
       build at once and leaves nothing running or mounted. One thread drives one generator.
       Several threads may build at the same time, also for the same owner.
       * Each of a step's two streams is complete and in order. Between its stdout and stderr only
         the order of arrival is known. The output of parallel steps is interleaved.
       * A step starts once (or is "cached") before its output, and ends once after it. Steps
         without a position have no events if the engine does not report them. Steps that are
         running when the build fails end as "failed" or "cancelled" if the engine can tell.
       * The output of a step is never parsed as progress, whatever it looks like.
    4. `discard(spec)`, called after every build: removes `spec.work`. Safe to call twice.
    5. `make_room(free_bytes)`, called periodically: if less than this is free on the disk, it
       drops caches, the least recently used first, but nothing that a build is using.
    """

    name: Literal["buildkit", "scripted"]

    def problems(self) -> list[Problem]: ...

    def sweep(self, alive: frozenset[UUID]) -> None: ...

    def build(self, spec: BuildSpec) -> Generator[BuildEvent, None, BuildOutcome]: ...

    def discard(self, spec: BuildSpec) -> None: ...

    def make_room(self, free_bytes: int) -> None: ...
