"""Finds packages of the engine root that Debian has in newer versions. Checked once a day."""

import json
import time
from contextlib import suppress

from django.conf import settings

from builds.conf import BuildSettings
from builds.engine_root import NoEngineRoot
from builds.process import CLEAN_ENV, ProcessError, run
from config.env import environment

SCRIPT = settings.BASE_DIR / "deploy" / "engine-root.sh"
SECONDS = 30.0
FRESH_SECONDS = 86_400.0
FILE = "engine-root-updates.json"


class NotKnown(Exception):
    """Debian's mirror could not be queried. The message says why."""


def find(config: BuildSettings) -> list[str]:
    """Names of the outdated packages, cached for FRESH_SECONDS. Raises NotKnown."""
    try:
        root = str(config.engine_root.find())
    except NoEngineRoot as problem:
        raise NotKnown(str(problem)) from problem
    file = config.data_dir / FILE
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(file.read_text())
        if known["root"] == root and 0 <= time.time() - known["at"] < FRESH_SECONDS:
            return [str(name) for name in known["newer"]]
    newer = _ask(root)
    with suppress(OSError):
        file.write_text(json.dumps({"root": root, "at": time.time(), "newer": newer}))
    return newer


def _ask(root: str) -> list[str]:
    env = {
        **CLEAN_ENV,
        "SLIPWAY_ENGINE_ROOT": root,
        "SLIPWAY_DEBIAN_MIRROR": environment().debian_mirror,
    }
    try:
        said = run(["bash", SCRIPT, "--check"], env=env, deadline=SECONDS)
    except ProcessError as problem:
        raise NotKnown(str(problem)) from problem
    return [line.split()[0] for line in said.stdout.decode().splitlines() if line.strip()]
