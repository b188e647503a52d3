"""How BuildKit will number the steps of each stage, so that its progress can be told apart."""

from collections.abc import Sequence
from itertools import groupby

from builds.build_spec import Dockerfile, Step
from builds.engines.buildkit.bases import FetchedBase
from builds.engines.buildkit.progress import StageSteps

_WORKING_TRIGGERS = {"ADD", "COPY", "RUN", "WORKDIR"}


def stages_of(dockerfile: Dockerfile, fetched: Sequence[FetchedBase]) -> dict[str, StageSteps]:
    """The numbered steps of each stage by the stage's name in BuildKit's progress.

    A base that comes as a named context takes no number, nor does scratch.
    """
    triggers = {each.base.context: _working(each.config.onbuild) for each in fetched}

    def stage(step: Step) -> str:
        return step.stage

    stages = {}
    for name, steps in groupby(dockerfile.steps, key=stage):
        first, *others = steps
        stages[name] = StageSteps(
            first=1 + triggers.get(first.base, 0),
            steps=tuple(step.number for step in others if step.position is not None),
        )
    return stages


def _working(triggers: Sequence[str]) -> int:
    return sum(trigger.strip().partition(" ")[0].upper() in _WORKING_TRIGGERS for trigger in triggers)
