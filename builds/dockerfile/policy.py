"""Reads a Dockerfile as the engine is to see it: every image by its full name, nothing unsafe.

The wall around the engine holds where this errs. This is here so that people hear early, with a
line number, what would otherwise end in an engine's riddle, and so that the bases can be pulled
before the build by someone who may.
"""

import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from builds.dockerfile.instructions import (
    DockerfileRefused,
    Flag,
    Instruction,
    instruction,
    parse,
)
from builds.dockerfile.mounts import MountRefused, check_mount
from builds.dockerfile.references import NotAReference, qualify
from builds.dockerfile.words import UnreadableWord, UnsetVariable, expand, split

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# What RUN may say because it changes nothing; the engine knows neither flag.
_IDLE_RUN_FLAGS = {Flag("network", "default"), Flag("security", "sandbox")}
_NO_TRIGGERS = {"FROM", "MAINTAINER", "ONBUILD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDockerfile:
    """A Dockerfile past the policy."""

    text: str
    """For the engine: plain instructions, each on the line where it started."""
    bases: tuple[str, ...]
    """Fully qualified references of images to have before the build, each once, in order."""
    steps: int
    """Instructions in all stages: what a progress bar counts to."""


def read(text: str, *, build_args: Mapping[str, str]) -> ReadDockerfile:
    """Applies the policy. Raises DockerfileRefused with a line number and what to do instead.

    Build arguments count only where an ARG declares them; the engine warns about others. What a
    RUN does is the wall's business, not this one's.
    """
    source = parse(text)
    if not source.instructions:
        raise DockerfileRefused("the Dockerfile is empty: start it with FROM and a base image")
    policy = _Policy(build_args, source.escape)
    lines = ["# escape=`"] if source.escape == "`" else []
    for each in source.instructions:
        lines.extend([""] * (each.line - 1 - len(lines)))
        lines.append(str(policy.apply(each)))
    if not policy.stages:
        raise DockerfileRefused(
            "there is no FROM: start the first stage with FROM and a base image"
        )
    return ReadDockerfile(
        text="\n".join(lines) + "\n", bases=tuple(policy.bases), steps=policy.steps
    )


class _Policy:
    """Goes through the instructions in order, knowing which stages and arguments there are."""

    def __init__(self, build_args: Mapping[str, str], escape: str) -> None:
        self.stages: list[str] = []
        """Names in order, "" where a stage has none."""
        self.bases: dict[str, None] = {}
        self.steps = 0
        self._build_args = build_args
        self._escape = escape
        self._global: dict[str, str | None] = dict(_platform_arguments())
        self._local: dict[str, str | None] = {}

    def apply(self, each: Instruction) -> Instruction:
        if not self.stages and each.word not in {"ARG", "FROM"}:
            raise DockerfileRefused(
                f"{each.word} comes before the first FROM: only ARG may", line=each.line
            )
        with _refusals(each):
            match each.word:
                case "FROM":
                    each = self._from(each)
                case "ARG":
                    self._arg(each)
                case "ENV":
                    self._env(each)
                case "COPY" | "ADD" | "RUN":
                    each = self._flags(each)
                case "ONBUILD":
                    each = self._trigger(each)
        self.steps += bool(self.stages)
        return each

    def _from(self, each: Instruction) -> Instruction:
        for flag in each.flags:
            self._check_platform(flag)
        match split(each.rest, escape=self._escape):
            case [image]:
                stage = ""
            case [image, word, stage] if word.upper() == "AS":
                stage = stage.lower()
            case _:
                raise _Wrong("FROM takes an image and perhaps AS and a name: FROM image AS name")
        name = self._expand(image, self._global)
        if name.lower() in filter(None, self.stages):
            base = name.lower()
        else:
            base = name if name == "scratch" else self._image(name)
        if stage and (not _STAGE_NAME.fullmatch(stage) or stage == "scratch"):
            raise _Wrong(f"{stage!r} cannot name a stage: use letters, digits, '.', '_' and '-'")
        if stage and stage in self.stages:
            raise _Wrong(f"there are two stages named {stage!r}: name each once")
        self.stages.append(stage)
        self._local = {}
        return replace(each, flags=(), rest=f"{base} AS {stage}" if stage else base)

    def _arg(self, each: Instruction) -> None:
        values = self._local if self.stages else self._global
        for word in split(each.rest, escape=self._escape):
            name, given, default = word.partition("=")
            if name in self._build_args:
                values[name] = self._build_args[name]
            elif given:
                try:
                    values[name] = self._expand(default, values)
                except UnsetVariable:
                    values[name] = None  # matters only if an image or a mount needs it
            else:
                values[name] = self._global.get(name)

    def _env(self, each: Instruction) -> None:
        """ENV outranks ARG, and bases bring theirs, so its variables are left without a value."""
        words = split(each.rest, escape=self._escape)
        pairs = words if words and "=" in words[0] else words[:1]
        for pair in pairs:
            self._local[pair.partition("=")[0]] = None

    def _flags(self, each: Instruction) -> Instruction:
        names = [flag.name for flag in each.flags if flag.name != "mount"]
        if len(names) != len(set(names)):
            raise _Wrong("it has the same flag twice: give it once")
        flags = [self._flag(each.word, flag) for flag in each.flags]
        return replace(each, flags=tuple(filter(None, flags)))

    def _flag(self, word: str, flag: Flag) -> Flag | None:
        """The flag as the engine is to see it, or None where it is better off without."""
        match word, flag.name:
            case "COPY", "from":
                return Flag("from", self._source(self._expand(flag.value or "", self._local)))
            case "COPY" | "ADD", "link":
                return None  # only about how layers are kept, and this engine does not know it
            case "RUN", "mount":
                mount = check_mount(
                    flag.value or "",
                    expand=lambda text: self._expand(text, self._local),
                    resolve=self._source,
                )
                return Flag("mount", mount)
            case "RUN", _ if flag in _IDLE_RUN_FLAGS:
                return None
            case "RUN", _:
                raise _Wrong(f"{flag} is not something that a build may choose: leave it out")
        return flag

    def _trigger(self, each: Instruction) -> Instruction:
        inner = instruction(each.rest, line=each.line, escape=self._escape)
        if inner.word in _NO_TRIGGERS:
            raise _Wrong(f"ONBUILD cannot hold {inner.word}: leave it out")
        if inner.word in {"COPY", "ADD", "RUN"}:
            inner = self._flags(inner)
        return replace(each, rest=str(inner))

    def _source(self, name: str) -> str:
        """What COPY --from and mounts name: an earlier stage by name or number, or an image."""
        earlier = self.stages[:-1]
        if name.isdecimal() and name.isascii():
            if int(name) < len(earlier):
                return str(int(name))
            raise _Wrong(f"there is no stage {name} above this one: count stages from 0")
        if name.lower() in filter(None, earlier):
            return name.lower()
        if name.lower() in {self.stages[-1], "scratch"}:
            raise _Wrong(f"nothing can come from {name!r} here: name an earlier stage or an image")
        return self._image(name)

    def _image(self, name: str) -> str:
        try:
            base = qualify(name)
        except NotAReference as reason:
            raise _Wrong(
                f"{name[:120]!r} is not an image's name ({reason}): "
                "write it like docker.io/library/python:3.12"
            ) from reason
        self.bases[base] = None
        return base

    def _check_platform(self, flag: Flag) -> None:
        if flag.name != "platform":
            raise _Wrong(f"{flag} is not a flag of FROM: leave it out")
        wanted = self._expand(flag.value or "", self._global)
        here = self._global["BUILDPLATFORM"]
        if wanted != here:
            raise _Wrong(f"builds here are for {here}, not for {wanted!r}: leave --platform out")

    def _expand(self, text: str, values: Mapping[str, str | None]) -> str:
        return expand(text, values, escape=self._escape)


class _Wrong(ValueError):
    """What is wrong with the instruction at hand, and what to do; the line is added outside."""


@contextmanager
def _refusals(each: Instruction) -> Iterator[None]:
    try:
        yield
    except UnsetVariable as unset:
        where = "above the first FROM" if each.word == "FROM" else "in this stage, above the line"
        raise DockerfileRefused(
            f"{each.word} needs ${unset.name}, which has no value: declare ARG {unset.name} "
            f"{where}, with a default or with a build argument of that name",
            line=each.line,
        ) from unset
    except UnreadableWord as error:
        raise DockerfileRefused(f"{each.word} cannot be read: {error}", line=each.line) from error
    except (MountRefused, _Wrong) as error:
        raise DockerfileRefused(str(error), line=each.line) from error


def _platform_arguments() -> Iterator[tuple[str, str]]:
    machine = platform.machine()
    machine = _MACHINES.get(machine, machine)
    for side in ("BUILD", "TARGET"):
        yield f"{side}PLATFORM", f"linux/{machine}"
        yield f"{side}OS", "linux"
        yield f"{side}ARCH", machine
        yield f"{side}VARIANT", ""
