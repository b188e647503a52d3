"""What this machine lacks for builds, told at start and not at the first build. Quick."""

from builds.engines.base import Problem
from builds.engines.buildkit.client import BUILDX
from builds.engines.sandbox.helper import Helper, HelperError
from builds.engines.sandbox.settings import EngineSettings


def find_problems(settings: EngineSettings, helper: Helper) -> list[Problem]:
    """Everything that is missing; the helper tells what the kernel and its rights do not allow."""
    if not (settings.engine_root / BUILDX.lstrip("/")).exists():
        return [
            Problem(
                code="engine-root-missing",
                text=f"there is no engine root at {settings.engine_root}",
                hint="run `make engine`",
                fatal=True,
            )
        ]
    try:
        info = helper.info()
    except HelperError as problem:
        return [
            Problem(
                code="helper-missing",
                text=f"the helper that starts builders does not answer: {problem}",
                hint="start Slipway by `make up`, or `manage.py helper` beside workers",
                fatal=True,
            )
        ]
    return [
        Problem(code=each.code, text=each.text, hint=each.hint, fatal=each.fatal)
        for each in info.problems
    ]
