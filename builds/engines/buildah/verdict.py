"""Why a build failed, from its exit code, its last words and the limits it hit.

The last words may be forged by a RUN step: they choose the wording for the build's owner, who
wrote that step, and nothing else.
"""

import re

from builds.build_spec import BuildSpec
from builds.engines.base import BuildFailed, EngineBroken, EngineError

STEP = re.compile(r'building at STEP "(.*?) *": (.*)')
RUN_EXIT = re.compile(r"while running runtime: exit status (\d+)$")
SYNTAX = re.compile(
    r"parse error|[Uu]nknown (instruction|flag)|invalid mount|no FROM|no contents|no stage"
    r"|requires (at least|either|exactly|a|one)\b"
)
# What the engine appends of its own insides.
INSIDES = re.compile(
    r" &imagebuilder\.Step\{.*\}$|resolving mountpoints for [^:]*: |/b/(?=context)"
)
HEREDOC = re.compile(r"^\s*(?:RUN|COPY|ADD)\b.*<<-?[\"']?\w", re.IGNORECASE | re.MULTILINE)
TEXT_LENGTH = 500


def verdict(
    *, exit_code: int, tail: bytes, entered: bool, built: bool, hit: str | None, order: BuildSpec
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
            f"The build used more memory than its limit of {order.limits.memory_bytes >> 20} MiB.",
            code="memory",
            exit_code=exit_code,
        )
    if built:
        return EngineBroken(f"The image could not be written: {error}", code="export")
    if exit_code < 0 or not error:
        return EngineBroken(f"The build ended with exit code {exit_code}.", code="died")
    also = f" It hit the limit of {order.limits.pids} processes." if hit == "pids" else ""
    if HEREDOC.search(order.dockerfile.text) and SYNTAX.search(error):
        also = " Here-documents are not known to this engine."
    return _of_the_owner(error, also)


def _of_the_owner(error: str, also: str) -> BuildFailed:
    text, reason = "The Dockerfile is wrong", error
    if step := STEP.search(error):
        text, reason = step.groups()
        if run := RUN_EXIT.search(reason):
            code = int(run[1])
            said = f"{text} failed with exit code {code}.{also}"
            return BuildFailed(_short(said), code="step", exit_code=code)
        text = f"{text} failed"
    if SYNTAX.search(reason):
        return BuildFailed(_short(f"{text}: {reason}{also}"), code="syntax")
    if "image not known" in reason or "no such image" in reason:
        return BuildFailed(_short(f"A base image was not found: {reason}"), code="base")
    if "no space left on device" in reason:
        return BuildFailed("There was no space left on the disk.", code="disk")
    return BuildFailed(_short(f"{text}: {reason}{also}" if step else reason), code="step")


def _last_error(tail: bytes) -> str:
    lines = tail.decode(errors="replace").replace("\r", "\n").strip().splitlines()
    for line in reversed(lines):
        if line.startswith(("Error: ", "error ")):
            return INSIDES.sub("", line.removeprefix("Error: ")).strip()
    return lines[-1].strip() if lines else ""


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else f"{text[: TEXT_LENGTH - 1]}…"
