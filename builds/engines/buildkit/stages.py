"""Predicts how BuildKit numbers the steps of each stage, to assign its progress to steps."""

from collections.abc import Sequence
from itertools import groupby

from builds.build_spec import Dockerfile, Step
from builds.engines.base_images.images import FetchedBase
from builds.engines.buildkit.progress import StageSteps

_NUMBERED = {"ADD", "COPY", "RUN", "WORKDIR"}


def stages_of(dockerfile: Dockerfile, fetched: Sequence[FetchedBase]) -> dict[str, StageSteps]:
    """The numbered steps of each stage by the stage's name in BuildKit's progress.

    A base that is a named context has no number, and neither has scratch.
    """
    triggers = {each.base.context: _numbered(each.config.onbuild) for each in fetched}

    def stage(step: Step) -> str:
        return step.stage

    stages = {}
    for name, steps in groupby(dockerfile.steps, key=stage):
        first, *others = steps
        shift = triggers.get(first.base, 0)
        numbered = {step.position + shift: step for step in others if step.position is not None}
        stages[name] = StageSteps(steps=numbered)
    return stages


def _numbered(triggers: Sequence[str]) -> int:
    """How many numbered steps the ONBUILD triggers of a base add to a stage that starts from it."""
    words = (trigger.split(maxsplit=1) for trigger in triggers)
    return sum(word[0].upper() in _NUMBERED for word in words if word)


def alike(dockerfile: Dockerfile) -> dict[int, tuple[int, ...]]:
    """For each step, all steps that BuildKit runs as one vertex with it, including itself."""
    groups: dict[int, list[int]] = {}
    for number, first in sorted(dockerfile.shared.items()):
        groups.setdefault(first, []).append(number)
    return {number: tuple(group) for group in groups.values() for number in group}
