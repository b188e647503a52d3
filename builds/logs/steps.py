"""State of each step of a build: instruction, status, begin and end.

Independent of Django.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from builds.build_spec import Step
from builds.logs.lines import since_1970

STEPS_KEPT = 1_000
"""Steps beyond this number are built, but their states and times are not kept."""
STEP_CHARACTERS = 300
CONTINUED = "continued"
CONTINUED_CHARACTERS = 60
"""Maximum length of an instruction in a heading that marks a continuation."""
State = Literal["waiting", "running", "cached", "succeeded", "failed", "cancelled"]
StepTimes = tuple[State, int | None, int | None]
"""State, and begin and end in microseconds since 1970."""
WAITING: StepTimes = ("waiting", None, None)
_UNPRINTED = re.compile(r"[\r\n\0]+")


class StepStates:
    """Tracks the steps of one attempt as they begin and end.

    Instructions that do no work (ENV, CMD, LABEL) have no events. They succeed when the next step
    of their stage begins, or when the build succeeds.
    """

    def __init__(self, steps: Iterable[Step] = (), mask: Callable[[str], str] = str) -> None:
        self._steps = {step.number: step for step in steps}
        self._texts = {
            number: _UNPRINTED.sub(" ", mask(step.text))[:STEP_CHARACTERS]
            for number, step in self._steps.items()
        }
        self._times = dict.fromkeys(self._steps, WAITING)
        self._current = 0
        self._listed = not self._steps
        self.changed = bool(self._steps)
        """Whether `facts` contains something that is not stored yet."""

    def __contains__(self, number: int | None) -> bool:
        return number in self._steps

    @property
    def current(self) -> int:
        """The highest number of a step that has begun; 0 before the first."""
        return self._current

    @property
    def total(self) -> int:
        return len(self._steps)

    @property
    def waiting(self) -> int:
        """How many steps have not begun."""
        return sum(times[0] == "waiting" for times in self._times.values())

    def heading(self, number: int, note: str = "") -> str:
        """The heading of a step in the log: `STEP 3/7: [stage] RUN make`."""
        stage = self._steps[number].stage
        where = f"[{stage}] " if stage else ""
        mark = f" ({note})" if note else ""
        text = self._texts[number]
        if note == CONTINUED and len(text) > CONTINUED_CHARACTERS:
            text = text[: CONTINUED_CHARACTERS - 1] + "…"
        return f"STEP {number}/{self.total}{mark}: {where}{text}"

    def begin(self, number: int, at: datetime, *, cached: bool = False) -> list[int]:
        """Record that a step runs or is cached. Returns the steps that begin with it, in order."""
        step = self._steps.get(number)
        if step is None or self._times[number] != WAITING:
            return []
        begun = [
            each.number
            for each in self._steps.values()
            if each.stage == step.stage
            and each.number < number
            and each.position is None
            and self._times[each.number] == WAITING
        ]
        now = since_1970(at)
        for each in begun:
            self._times[each] = ("succeeded", now, now)
        self._times[number] = ("cached", now, now) if cached else ("running", now, None)
        self._current = max(self._current, number)
        self.changed = True
        return [*begun, number]

    def end(
        self, number: int, state: Literal["succeeded", "failed", "cancelled"], at: datetime
    ) -> None:
        """Record that a running step ended. Ignored if it is not running."""
        was, began, _ = self._times.get(number, WAITING)
        if was != "running" or began is None:
            return
        self._times[number] = (state, began, max(began, since_1970(at)))
        self.changed = True

    def complete(self, at: datetime) -> list[int]:
        """Record that the build succeeded. Returns the steps that had not begun, in order."""
        now = since_1970(at)
        begun = [number for number, times in self._times.items() if times == WAITING]
        for number, (state, began, _) in self._times.items():
            if state in {"waiting", "running"}:
                self._times[number] = ("succeeded", now if began is None else began, now)
                self.changed = True
        self._current = self.total
        return begun

    def facts(self) -> dict[str, Any]:
        """Build fields to store: `step_times`, and `step_list` the first time. Empty if
        unchanged."""
        if not self.changed:
            return {}
        numbers = list(self._steps)[:STEPS_KEPT]
        facts: dict[str, Any] = {"step_times": [list(self._times[number]) for number in numbers]}
        if not self._listed:
            steps = [self._steps[number] for number in numbers]
            facts["step_list"] = [
                [step.number, step.stage, step.line, self._texts[step.number]] for step in steps
            ]
        return facts

    def stored(self) -> None:
        """Record that the result of `facts` was stored."""
        self._listed, self.changed = True, False


def settled_times(
    times: Sequence[Sequence[Any]],
    outcome: Literal["succeeded", "failed", "cancelled"],
    at: datetime,
) -> list[list[Any]]:
    """`step_times` of an ended build, in which no step is still running.

    If a step failed, steps that ran in parallel are marked as cancelled.
    """
    failed = any(state == "failed" for state, *_ in times)
    state = "cancelled" if outcome == "failed" and failed else outcome
    now = since_1970(at)
    return [
        [state, began, max(began, now)] if was == "running" else [was, began, ended]
        for was, began, ended in times
    ]
