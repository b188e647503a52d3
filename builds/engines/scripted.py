"""The scripted twin: plays a build from directives in the Dockerfile, for fast tests of the rest.

`RUN scripted: <verb> <rest>` lines are played in order; other instructions are only announced:

    echo TEXT       a line on stdout          sleep SECONDS    silence, with ticks
    stderr TEXT     a line on stderr          until PATH       silence until a file exists
    raw TEXT        bytes on stdout, with     exit CODE        a RUN step fails with CODE
                    Python's escapes          fail CODE TEXT   BuildFailed with that code
    repeat N TEXT   N numbered lines          broken TEXT      EngineBroken

The image at the end is real: one small layer, and a digest of its own for each attempt.
"""

import gzip
import hashlib
import io
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Literal
from uuid import UUID

from builds.build_spec import BuildOutcome, BuildSpec, Output
from builds.engines.base import TICK_SECONDS, BuildFailed, EngineBroken, Problem
from builds.engines.sandbox.layout import write_layout

PIPE_BYTES = 4096
"""What a program that writes much into a pipe writes at once."""
DIRECTIVE = re.compile(r"(?:#|RUN )scripted:\s*(\w+)\s?(.*)")


class ScriptedEngine:
    """Keeps the promises of BuildEngine without starting anything."""

    name: Literal["buildah", "docker", "scripted"] = "scripted"

    def problems(self) -> list[Problem]:
        return []

    def sweep(self, alive: frozenset[UUID]) -> None:
        """Nothing outlives this process."""

    def build(self, order: BuildSpec) -> Generator[Output, None, BuildOutcome]:
        lines = [line.strip() for line in order.dockerfile.text.splitlines()]
        steps = sum(1 for line in lines if line and not line.startswith("#"))
        if not steps:
            raise BuildFailed("The Dockerfile is wrong: no FROM statement found", code="syntax")
        step = 0
        for line in lines:
            if directive := DIRECTIVE.fullmatch(line):
                verb, rest = directive.groups()
                yield from _verb(verb)(rest)
            elif line and not line.startswith("#"):
                step += 1
                yield "stdout", f"STEP {step}/{steps}: {line}\n".encode()
        yield "stdout", b""
        return _write_image(order)

    def discard(self, order: BuildSpec) -> None:
        shutil.rmtree(order.work, ignore_errors=True)

    def make_room(self, free_bytes: int) -> None:
        """There is no cache to drop."""


def _verb(verb: str) -> Callable[[str], Iterable[Output]]:
    try:
        return VERBS[verb]
    except KeyError:
        raise EngineBroken(f"no such directive: {verb}", code="script") from None


def _echo(text: str) -> Iterable[Output]:
    return [("stdout", f"{text}\n".encode())]


def _stderr(text: str) -> Iterable[Output]:
    return [("stderr", f"{text}\n".encode())]


def _raw(text: str) -> Iterable[Output]:
    return [("stdout", text.encode().decode("unicode_escape").encode("latin-1"))]


def _repeat(rest: str) -> Iterable[Output]:
    count, _, text = rest.partition(" ")
    piece = bytearray()
    for number in range(int(count)):
        piece += f"{number} {text}\n".encode()
        if len(piece) >= PIPE_BYTES:
            yield "stdout", bytes(piece)
            piece.clear()
    yield "stdout", bytes(piece)


def _sleep(seconds: str) -> Iterable[Output]:
    until = time.monotonic() + float(seconds)
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(TICK_SECONDS, left))
        yield "stdout", b""


def _until(path: str) -> Iterable[Output]:
    while not Path(path).exists():
        time.sleep(0.01)
        yield "stdout", b""


def _exit(code: str) -> Iterable[Output]:
    text = f"RUN failed with exit code {code}."
    yield "stderr", f"Error: {text}\n".encode()
    raise BuildFailed(text, code="step", exit_code=int(code))


def _fail(rest: str) -> Iterable[Output]:
    code, _, text = rest.partition(" ")
    yield "stderr", f"Error: {text}\n".encode()
    raise BuildFailed(text, code=code)


def _broken(text: str) -> Iterable[Output]:
    yield "stderr", f"Error: {text}\n".encode()
    raise EngineBroken(text, code="scripted")


VERBS: dict[str, Callable[[str], Iterable[Output]]] = {
    "echo": _echo,
    "stderr": _stderr,
    "raw": _raw,
    "repeat": _repeat,
    "sleep": _sleep,
    "until": _until,
    "exit": _exit,
    "fail": _fail,
    "broken": _broken,
}


def _write_image(order: BuildSpec) -> BuildOutcome:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        content = order.dockerfile.text.encode()
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    diff_id = f"sha256:{hashlib.sha256(archive.getvalue()).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"slipway.build": str(order.build_id)}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "scripted"}],
    }
    layer = gzip.compress(archive.getvalue(), mtime=0)
    return write_layout(order.work / "layout", config=config, layers=[layer])
