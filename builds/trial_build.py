"""Builds a tiny image to check that this machine can run builds."""

import shutil
from pathlib import Path
from time import monotonic
from uuid import UUID, uuid4

from builds import dockerfile
from builds.build_spec import BuildSpec
from builds.conf import TRIAL, BuildSettings
from builds.engine_root import BUSYBOX
from builds.engines.base import BuildEngine, BuildFailed, EngineBroken

SECONDS = 120.0
OWNER = UUID(int=0)
"""No user has this id, so no user's cache is used."""
DOCKERFILE = """\
FROM scratch
COPY busybox /busybox
RUN ["/busybox", "echo", "built"]
"""


class TrialFailed(Exception):
    """The trial build failed. The message is the reason, on one line."""


def try_build(engine: BuildEngine, settings: BuildSettings) -> float:
    """Build without a cache and discard the image. Returns the duration in seconds. Raises
    TrialFailed."""
    build_id = uuid4()
    work = settings.work_folder / f"{TRIAL}{build_id}"
    read = dockerfile.read(DOCKERFILE, build_args={})
    spec = BuildSpec(
        build_id=build_id,
        owner_id=OWNER,
        label="doctor/trial:latest",
        context=work / "context",
        dockerfile=read,
        build_args=(),
        no_cache=True,
        network=settings.network,
        limits=settings.limits,
        work=work,
    )
    began = monotonic()
    try:
        _write_context(spec.context, settings)
        _drive(engine, spec)
    except (BuildFailed, EngineBroken) as problem:
        raise TrialFailed(problem.text) from problem
    except TrialFailed:
        raise
    except Exception as problem:
        raise TrialFailed(f"{type(problem).__name__}: {problem}") from problem
    finally:
        engine.discard(spec)
        shutil.rmtree(work, ignore_errors=True)
    return monotonic() - began


def _write_context(folder: Path, settings: BuildSettings) -> None:
    folder.mkdir(parents=True)
    shutil.copy(settings.engine_root.find() / BUSYBOX, folder / "busybox")


def _drive(engine: BuildEngine, spec: BuildSpec) -> None:
    until = monotonic() + SECONDS
    build = engine.build(spec)
    try:
        while True:
            next(build)
            if monotonic() > until:
                raise TrialFailed(f"it did not end within {SECONDS:.0f} seconds")
    except StopIteration:
        return
    finally:
        build.close()
