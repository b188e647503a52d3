"""The Protocol that every engine implements, the scripted one too, and how builds fail."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from builds.build_spec import BuildEvent, BuildOutcome, BuildSpec

TICK_SECONDS = 0.1
"""Also how often the log of a slow build is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is missing on this machine, and what to do about it."""

    code: str
    """Stable and lower-case, such as `helper-missing`."""
    text: str
    hint: str
    fatal: bool
    """Without it nothing builds. False where builds run with less: no network, no memory limit."""


class EngineError(Exception):
    """A build that ended without an image. The text is one line for its owner."""

    def __init__(self, text: str, *, code: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.exit_code = exit_code


class BuildFailed(EngineError):
    """The user's fault: a step failed, the Dockerfile is wrong, a base image does not exist.

    Codes: `step`, `syntax`, `base`, `memory`, `disk`. `exit_code` is RUN's own where a RUN failed.
    """


class EngineBroken(EngineError):
    """Slipway's fault: the engine did not start or did not work. Operators should look at it."""


class BuildInterrupted(EngineBroken):
    """Something that the build needs was killed, and not by the build: it may start again."""


class BuildEngine(Protocol):
    """Builds images in sandboxes.

    1. `problems()` at start: what the machine lacks.
    2. `sweep(alive)` at start and now and then: removes what attempts that no longer run left
       (processes, mounts, folders, control groups).
    3. `build(spec)` is a generator of events, within milliseconds of what they tell, and at least
       every TICK_SECONDS a StepOutput with empty bytes. It returns a BuildOutcome or raises
       BuildFailed or EngineBroken. Closing the generator at any time kills every process of the
       build at once and leaves nothing running or mounted. One thread drives one generator;
       several threads may build at once, also for one owner.
       * Each of a step's two streams is exact and in order. Between its stdout and stderr only
         the order of arrival is known. The output of steps that run side by side comes mixed.
       * A step starts once (or is "cached") before its output, and ends once after it. Steps
         without a position have no events where the engine knows nothing of them. Steps that run
         when the build fails end as "failed" or "cancelled" where the engine can tell.
       * No output makes an event: what looks like progress is output.
    4. `discard(spec)` afterwards, whatever happened: removes `spec.work`. Safe to call twice.
    5. `make_room(free_bytes)` now and then: where less of the disk is free it drops what is only
       cache, the least recently used first, and nothing that a build uses.
    """

    name: Literal["buildkit", "scripted"]

    def problems(self) -> list[Problem]: ...

    def sweep(self, alive: frozenset[UUID]) -> None: ...

    def build(self, spec: BuildSpec) -> Generator[BuildEvent, None, BuildOutcome]: ...

    def discard(self, spec: BuildSpec) -> None: ...

    def make_room(self, free_bytes: int) -> None: ...
