"""Finds the stages of a Dockerfile, their dependencies, and the stages that a target needs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from builds.dockerfile import mounts
from builds.dockerfile.errors import DockerfileRefused, LeftToBuildKit
from builds.dockerfile.expansion import (
    SPACES,
    Budget,
    EmptyPattern,
    Lexer,
    TooMuchWork,
    Unreadable,
)
from builds.dockerfile.source import BLANK, Flag, Instruction, Source, lower

MAX_STAGES = 1_000
MAX_PATHS = 10_000_000
"""Limit for the paths from the target through the stages. BuildKit walks each several times."""
SCRATCH = "scratch"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_NUMBER = re.compile(r"[+-]?0*([0-9]{1,18})")
_BLANKS = re.compile(f"[{BLANK}]+")
_AS_NAME = 3


@dataclass(frozen=True, slots=True)
class Expanded:
    """A text of FROM with its variables expanded."""

    text: str
    without_value: tuple[str, ...] = ()
    """Variables in it that are unset or empty."""
    problem: str = ""
    """A clause that says why BuildKit cannot expand it. Empty if it can."""


@dataclass(eq=False, slots=True)
class Image:
    """An image, not a stage, that COPY --from or RUN --mount names."""

    name: str
    instruction: Instruction
    flag: Flag
    places: Sequence[int]
    """Indexes of the name's characters in the flag's value."""


@dataclass(eq=False, slots=True)
class Stage:
    """FROM and the instructions below it."""

    index: int
    name: str
    """In lower case. Empty for a stage without a name."""
    start: Instruction
    image: Expanded
    platform: Expanded | None
    base: "Stage | None" = None
    """The earlier stage that it starts from."""
    commands: list[Instruction] = field(default_factory=list)
    sources: "list[Stage | Image]" = field(default_factory=list)
    """The sources of its COPY and RUN instructions in order. A mount without one has scratch."""
    too_early: Instruction | None = None
    """The first instruction that takes files from a stage that is not above this one."""


@dataclass(frozen=True, slots=True)
class Stages:
    """All stages, and those that the build needs."""

    all: tuple[Stage, ...]
    needed: tuple[Stage, ...]
    """In the order of the Dockerfile."""
    images: frozenset[Image]
    """The images in `Stage.sources` that are needed."""
    alone: bool
    """Whether there is only one stage and no image: BuildKit then omits the stage's name."""


def read_stages(
    source: Source, values: Mapping[str, str], build_args: Mapping[str, str], target: str,
    budget: Budget,
) -> Stages:  # fmt: skip
    """Find the stages that `target` needs (empty: the last stage). `values`: platform arguments.

    Raises DockerfileRefused, or LeftToBuildKit if BuildKit's parser fails too.
    """
    builder = _Builder(source, dict(values), build_args, budget)
    for instruction in source.instructions:
        with Line(instruction.line):
            builder.add(instruction)
    return builder.finish(target)


class Line:
    """Context manager: turns TooMuchWork and EmptyPattern into DockerfileRefused with the line."""

    def __init__(self, line: int) -> None:
        self._line = line

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TooMuchWork):
            raise DockerfileRefused(f"{error}: shorten it", line=self._line) from error
        if isinstance(error, EmptyPattern):
            raise DockerfileRefused(
                f"{error}, and BuildKit crashes on that: give it one, or leave the mark out",
                line=self._line,
            ) from error


class _Builder:
    def __init__(
        self, source: Source, values: dict[str, str], build_args: Mapping[str, str], budget: Budget
    ) -> None:
        self._escape = source.escape
        self._values = values
        self._build_args = build_args
        self._budget = budget
        self._stages: list[Stage] = []
        self._names: dict[str, Stage] = {}
        self._states: list[Stage | Image] = []
        """What numbers in COPY --from refer to: the stages, then every image named so far."""

    def add(self, instruction: Instruction) -> None:
        if instruction.word == "from":
            self._from(instruction)
        elif self._stages:
            self._stages[-1].commands.append(instruction)
        elif instruction.word == "arg":
            self._global_arg(instruction)
        else:
            raise DockerfileRefused(
                f"{instruction.word.upper()} comes before the first FROM: only ARG may",
                line=instruction.line,
            )

    def finish(self, target: str) -> Stages:
        if not self._stages:
            raise DockerfileRefused(
                "there is no FROM: start the first stage with FROM and a base image"
            )
        goal = self._target(target)
        self._states = list(self._stages)
        for stage in self._stages:
            for command in stage.commands:
                with Line(command.line):
                    self._connect(stage, command)
        reached = _reach(goal)
        needed = tuple(stage for stage in self._stages if stage in reached)
        _refuse_too_early(needed)
        _check_paths(needed, goal)
        return Stages(
            tuple(self._stages),
            needed,
            frozenset(node for node in reached if isinstance(node, Image)),
            alone=len(self._states) == 1,
        )

    def _target(self, target: str) -> Stage:
        if not target:
            return self._stages[-1]
        if stage := self._names.get(lower(target)):
            return stage
        names = ", ".join(list(self._names)[:20]) or "none of them has a name"
        raise DockerfileRefused(
            f"there is no stage named {target[:80]!r} to build: name it with FROM … AS, or choose "
            f"one of the stages ({names})"
        )

    def _global_arg(self, instruction: Instruction) -> None:
        for word in split_words(instruction.arguments, self._escape):
            name, equals, default = word.partition("=")
            if name in self._build_args:
                self._values[name] = self._build_args[name]
            elif equals:
                self._values[name] = self._expand(default).text
            else:
                # BuildKit also drops the value of a platform argument then.
                self._values[name] = ""

    def _expand(self, text: str) -> Expanded:
        lexer = Lexer(text, self._values, self._budget, escape=self._escape)
        try:
            text = lexer.word()
        except EmptyPattern:
            raise
        except Unreadable as error:
            return Expanded("", tuple(lexer.without_value), str(error))
        return Expanded(text, tuple(lexer.without_value))

    def _from(self, instruction: Instruction) -> None:
        if len(self._stages) == MAX_STAGES:
            raise DockerfileRefused(
                f"there are more than {MAX_STAGES} stages: split the Dockerfile",
                line=instruction.line,
            )
        name = _stage_name(instruction)
        flags = instruction.flags.values("platform")
        platform = self._expand(flags[0].value) if flags and flags[0].value else None
        image = self._expand(first_argument(instruction))
        stage = Stage(len(self._stages), name, instruction, image, platform)
        stage.base = self._names.get(image.text)
        self._stages.append(stage)
        if name:
            self._names[name] = stage

    def _connect(self, stage: Stage, command: Instruction) -> None:
        for source in self._sources(command):
            stage.sources.append(source)
            above = isinstance(source, Image) or source.index < stage.index
            if not above and stage.too_early is None:
                stage.too_early = command

    def _sources(self, command: Instruction) -> "Iterator[Stage | Image]":
        if command.word == "copy":
            for flag in command.flags.values("from")[:1]:
                if flag.value:
                    image = Image(flag.value, command, flag, range(len(flag.value)))
                    yield self._numbered(flag.value) or self._named(image)
        elif command.word == "run":
            for flag in command.flags.values("mount"):
                found = mounts.source_of(mounts.read_fields(flag.value))
                image = Image(SCRATCH, command, flag, ())
                if found and found.value:
                    image = Image(found.value, command, flag, found.places)
                yield self._named(image)

    def _numbered(self, text: str) -> "Stage | Image | None":
        found = _NUMBER.fullmatch(text)
        if not found:
            return None
        number = int(found[1])
        if number >= len(self._states) or (text.startswith("-") and number):
            raise LeftToBuildKit
        return self._states[number]

    def _named(self, image: Image) -> "Stage | Image":
        if stage := self._names.get(lower(image.name)):
            return stage
        self._states.append(image)
        return image


def first_argument(instruction: Instruction) -> str:
    """The image of FROM as written."""
    return _BLANKS.split(instruction.arguments, maxsplit=1)[0]


def _stage_name(instruction: Instruction) -> str:
    words = _BLANKS.split(instruction.arguments, maxsplit=_AS_NAME)
    if len(words) == 1 and words[0]:
        return ""
    # Go's EqualFold treats the long s (U+017F) as an s.
    if len(words) != _AS_NAME or words[1].replace("\u017f", "s").lower() != "as":
        raise LeftToBuildKit
    name = lower(words[2])
    if not _STAGE_NAME.fullmatch(name):
        raise LeftToBuildKit
    return name


def split_words(text: str, escape: str) -> Iterator[str]:
    """Split at spaces outside of quotes, and keep quotes and escapes, as for ARG and ENV."""
    word: list[str] = []
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == escape and quote != "'":
            if at == len(text):
                break
            char += text[at]
            at += 1
        elif char in "'\"" and quote in {"", char}:
            quote = "" if quote else char
        elif char in SPACES and not quote:
            if word:
                yield "".join(word)
            word = []
            continue
        word.append(char)
    if word:
        yield "".join(word)


def _reach(goal: Stage) -> "set[Stage | Image]":
    reached: set[Stage | Image] = {goal}
    todo: list[Stage | Image] = [goal]
    while todo:
        node = todo.pop()
        for each in _needs(node):
            if each not in reached:
                reached.add(each)
                todo.append(each)
    return reached


def _needs(node: "Stage | Image") -> "Iterable[Stage | Image]":
    if isinstance(node, Image):
        return ()
    return (node.base, *node.sources) if node.base else node.sources


def _refuse_too_early(needed: Iterable[Stage]) -> None:
    """Refuse sources below: BuildKit fails on them, and crashes if stages need each other."""
    for stage in needed:
        if stage.too_early is not None:
            raise DockerfileRefused(
                "it takes files from a stage that is not above this one: move that stage up",
                line=stage.too_early.line,
            )


def _check_paths(needed: Iterable[Stage], goal: Stage) -> None:
    paths: dict[Stage | Image, int] = {}
    for stage in needed:
        paths[stage] = 1 + sum(paths.get(each, 1) for each in set(_needs(stage)))
        if paths[stage] > MAX_PATHS:
            raise DockerfileRefused(
                f"the stages that this one needs copy from each other in more than {MAX_PATHS:,} "
                "ways, which BuildKit cannot follow: copy from fewer stages",
                line=goal.start.line,
            )
