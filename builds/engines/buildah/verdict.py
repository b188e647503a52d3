"""Why a build failed, from its exit code, its last words and the limits it hit.

The last words may be forged by a RUN step: they choose the wording for the build's owner, who
wrote that step, and nothing else.
"""

import re

from builds.engines.base import BuildFailed, EngineBroken, EngineError
from builds.orders import Limits

STEP = re.compile(r'building at STEP "(.*)": (.*)')
RUN_EXIT = re.compile(r"while running runtime: exit status (\d+)$")
SYNTAX = re.compile(
    r"dockerfile parse error|unknown instruction|[Uu]nknown flag|parsing|no FROM|empty|requires"
)
TEXT_LENGTH = 500


def verdict(
    *, exit_code: int, tail: bytes, entered: bool, built: bool, hit: str | None, limits: Limits
) -> EngineError:
    """The error to raise; `entered` and `built` say how far the build came."""
    error = _last_error(tail)
    if not entered:
        return EngineBroken(
            f"The build could not be started: {error or exit_code}",
            code="wall",
            exit_code=exit_code,
        )
    if hit == "memory":
        return BuildFailed(
            f"The build used more memory than its limit of {limits.memory_bytes >> 20} MiB.",
            code="memory",
            exit_code=exit_code,
        )
    if built:
        return EngineBroken(f"The image could not be written: {error}", code="export")
    if exit_code < 0 or not error:
        return EngineBroken(f"The build ended with exit code {exit_code}.", code="died")
    return _of_the_owner(
        error, f" It hit the limit of {limits.pids} processes." if hit == "pids" else ""
    )


def _of_the_owner(error: str, also: str) -> BuildFailed:
    if step := STEP.search(error):
        text, reason = step.groups()
        if run := RUN_EXIT.search(reason):
            code = int(run[1])
            said = f"{text} failed with exit code {code}.{also}"
            return BuildFailed(_short(said), code="step", exit_code=code)
        return BuildFailed(_short(f"{text} failed: {reason}{also}"), code="step")
    if "image not known" in error or "no such image" in error:
        return BuildFailed(_short(f"A base image was not found: {error}"), code="base")
    if SYNTAX.search(error):
        return BuildFailed(_short(f"The Dockerfile is wrong: {error}"), code="syntax")
    return BuildFailed(_short(error + also), code="step")


def _last_error(tail: bytes) -> str:
    lines = tail.decode(errors="replace").replace("\r", "\n").strip().splitlines()
    for line in reversed(lines):
        if line.startswith(("Error: ", "error ")):
            return line.removeprefix("Error: ").strip()
    return lines[-1].strip() if lines else ""


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else f"{text[: TEXT_LENGTH - 1]}…"
