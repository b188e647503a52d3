"""Checks at start what this machine lacks for builds. Fast: it asks the helper, runs no build."""

from builds.engines.base import Problem
from builds.engines.buildkit.client import BUILDX
from builds.engines.sandbox.helper import Helper, HelperError
from builds.engines.sandbox.settings import EngineSettings

FATAL = {"missing", "engine-root", "subordinate-ids", "user-namespaces"}
"""Problems that prevent all builds. With the others, builds run with fewer features."""
SETUP = "deploy/machine.sh sets the machine up, or says what to ask root for"
HINTS = {
    "user-namespaces": "allow unprivileged user namespaces (sysctl, AppArmor, container options)",
    "limits": "run Slipway as root where control groups are mounted writable",
    "cache-images": "run Slipway as root where loop devices can be used",
    "network": "let the user read and write /dev/net/tun, or run Slipway as root",
}


def find_problems(settings: EngineSettings, helper: Helper) -> list[Problem]:
    """All problems. The helper reports what the kernel or missing privileges do not allow."""
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
    return [_problem(*each.partition(": ")[::2]) for each in info.problems]


def _problem(code: str, text: str) -> Problem:
    return Problem(
        code=code, text=text.removesuffix("."), hint=HINTS.get(code, SETUP), fatal=code in FATAL
    )
