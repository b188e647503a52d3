"""Finds the bases and steps of a Dockerfile, and refuses it if it cannot be built here.

BuildKit parses the text again itself. An image that this module missed is never fetched: a source
policy denies all images without a named context, and the build fails with the image's name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from posixpath import normpath

from builds.build_spec import Base, Dockerfile, Step
from builds.dockerfile import mounts
from builds.dockerfile.crashes import refuse_crashes
from builds.dockerfile.directives import Edit, read_directives
from builds.dockerfile.errors import DockerfileRefused, LeftToBuildKit
from builds.dockerfile.expansion import SPACES, Budget, Lexer, TooMuchWork, Unreadable
from builds.dockerfile.platforms import NotAPlatform, normalise, this_platform
from builds.dockerfile.references import NotAReference, qualify
from builds.dockerfile.source import (
    Flag,
    Instruction,
    Source,
    check_lines,
    check_size,
    parse,
)
from builds.dockerfile.stages import (
    SCRATCH,
    Expanded,
    Image,
    Line,
    Stage,
    Stages,
    first_argument,
    read_stages,
)

PREFIX = "slipway-base"
MAX_STEP_CHARACTERS = 300
MAX_BASES = 200
MAX_WORK_BYTES = 640 * 1024
"""Limit for the text of all instructions that BuildKit runs. It sends them in one message of at
most 4 MiB, each instruction five times; above that it fails after a minute without a line."""
WORK = {"add", "copy", "run", "workdir"}
"""The instructions that BuildKit numbers within a stage."""
_TITLES = {"cmd", "entrypoint", "expose", "healthcheck", "label", "maintainer", "onbuild",
           "stopsignal", "volume"}  # fmt: skip
"""Instructions that change only the image's configuration, with no effect on later steps."""
_OCTAL = re.compile(r"0*[0-7]{1,10}")
_TAKEN = re.compile(rf"{PREFIX}-(\d{{1,9}})", re.ASCII)


def read(
    text: str, *, build_args: Mapping[str, str], target: str = "", platform: str = ""
) -> Dockerfile:
    """Parse a Dockerfile. Raises DockerfileRefused with the line and what to do.

    If BuildKit's own parser refuses the text, the result has no steps and no bases: BuildKit then
    reports the error with its line. `platform` is `os/arch[/variant]`; default: this machine's.
    """
    check_size(text)
    directives = read_directives(text)
    budget = Budget()
    platform = platform or this_platform()
    try:
        source = parse(text, directives.escape, budget)
        stages = read_stages(
            source, _platform_arguments(platform, build_args), build_args, target, budget
        )
    except LeftToBuildKit:
        return Dockerfile(text=_edited(text, directives.edits), shared={}, written={})
    reading = _Reading(text, source, stages, build_args, platform, budget)
    try:
        reading.judge()
    except LeftToBuildKit:
        return Dockerfile(text=_edited(text, directives.edits), shared={}, written={})
    edited = _edited(text, [*directives.edits, *reading.edits])
    check_lines(edited)
    steps, shared = _Steps(stages, source.escape, reading.contexts, budget).number()
    return Dockerfile(
        text=edited,
        bases=tuple(reading.bases.values()),
        steps=steps,
        shared=shared,
        stages=tuple(stage.name for stage in stages.all if stage.name),
        written=reading.written,
    )


class _Reading:
    """Visits the needed stages: refuses what cannot be built, and collects images and edits."""

    def __init__(
        self, text: str, source: Source, stages: Stages, build_args: Mapping[str, str],
        platform: str, budget: Budget,
    ) -> None:  # fmt: skip
        self.bases: dict[tuple[str, str], Base] = {}
        """The bases by reference and platform."""
        self.contexts: dict[Stage, Base] = {}
        """The base of each stage that starts from an image."""
        self.written: dict[str, str] = {}
        self.edits: list[Edit] = []
        self._source = source
        self._stages = stages
        self._platform = platform
        self._budget = budget
        self._prefix = _prefix(text, source, build_args)

    def judge(self) -> None:
        for stage in self._stages.needed:
            self._from(stage)
            sources = {id(each.flag): each for each in stage.sources if isinstance(each, Image)}
            for command in stage.commands:
                with Line(command.line):
                    self._command(command, sources)
        self._images_of_other_stages()
        instructions = [each for stage in self._stages.needed for each in stage.commands]
        _refuse_much_work(instructions)
        refuse_crashes(instructions, self._source.escape, self._budget)

    def _from(self, stage: Stage) -> None:
        start = stage.start
        platform = self._platform
        if stage.platform is not None:
            platform = _platform_of(stage.platform, start)
        if stage.base is not None:
            return
        _refuse_unreadable(stage.image, start)
        if stage.image.text == SCRATCH:
            return
        written = first_argument(start)
        at = start.flags.end
        at += len(start.text[at:]) - len(start.text[at:].lstrip(SPACES))
        base = self._base(stage.image, platform, start, written)
        self._replace(start, at, at + len(written), base.context)
        self.contexts[stage] = base

    def _command(self, command: Instruction, sources: Mapping[int, Image]) -> None:
        if command.word in {"copy", "add"}:
            _refuse_mode(command)
        if command.word == "run":
            _refuse_run(command, self._budget)
        if command.word in {"copy", "run"}:
            for flag in command.flags.all:
                image = sources.get(id(flag))
                if image is not None and image in self._stages.images:
                    self._image(image)

    def _images_of_other_stages(self) -> None:
        """Add images of stages that are not needed: a number in COPY --from can refer to them."""
        done = set(self._stages.needed)
        for stage in self._stages.all:
            for each in stage.sources:
                if isinstance(each, Image) and each in self._stages.images and stage not in done:
                    self._image(each)

    def _image(self, image: Image) -> None:
        if image.name == SCRATCH:
            return
        line = image.instruction.line
        if "$" in image.name:
            raise DockerfileRefused(
                f"from={image.name[:80]} has a variable, which BuildKit does not expand there: "
                f"write FROM {image.name[:80]} AS a-name above, and from=a-name here",
                line=line,
            )
        base = self._base(Expanded(image.name), self._platform, image.instruction, image.name)
        flag, first, last = image.flag, image.places[0], image.places[-1]
        name = base.context
        if flag.quotes[first] != flag.quotes[last]:
            name = f"{flag.quotes[first]}{name}{flag.quotes[last]}".strip()
        self._replace(image.instruction, flag.starts[first], flag.ends[last], name)

    def _base(self, image: Expanded, platform: str, instruction: Instruction, written: str) -> Base:
        try:
            reference = qualify(image.text)
        except NotAReference as reason:
            if image.without_value:
                raise _unset(image, instruction) from reason
            hint = "write it like docker.io/library/python:3.12"
            if image.text != image.text.lower() and image.text.lower() in self._names:
                hint = f"stages are named in lower case: write FROM {image.text.lower()[:120]}"
            raise DockerfileRefused(
                f"{image.text[:120]!r} is not an image's name ({reason}): {hint}",
                line=instruction.line,
            ) from reason
        base = self.bases.get((reference, platform))
        if base is None:
            if len(self.bases) == MAX_BASES:
                raise DockerfileRefused(
                    f"there are more than {MAX_BASES} base images: use fewer",
                    line=instruction.line,
                )
            context = f"{self._prefix}-{len(self.bases) + 1}"
            base = Base(
                context=context, reference=reference, platform=platform, line=instruction.line
            )
            self.bases[reference, platform] = base
            self.written[context] = written if "$" not in written else image.text
        return base

    @property
    def _names(self) -> set[str]:
        return {stage.name for stage in self._stages.all}

    def _replace(self, instruction: Instruction, start: int, end: int, name: str) -> None:
        """Replace a range by a name, in the range's last line, so that it does not become empty."""
        *before, last = instruction.places.find(start, end)
        self.edits.extend((*place, "") for place in before)
        self.edits.append((*last, name))


class _Steps:
    """Numbers the instructions of needed stages, and finds those that BuildKit runs as one.

    A chain is a hash of all that leads to an instruction. Equal chains are one vertex in BuildKit.
    """

    def __init__(
        self, stages: Stages, escape: str, contexts: Mapping[Stage, Base], budget: Budget
    ) -> None:
        self._stages = stages
        self._escape = escape
        self._contexts = contexts
        self._budget = budget
        self._steps: list[Step] = []
        self._shared: dict[int, int] = {}
        self._first: dict[str, int] = {}
        """The first step of each chain."""
        self._ends: dict[Stage, str] = {}
        """The chain at the end of each stage."""
        self._folders: dict[Stage, str | None] = {}
        """The working directory at the end of each stage. None if unknown."""

    def number(self) -> tuple[tuple[Step, ...], dict[int, int]]:
        for stage in self._stages.needed:
            self._stage(stage)
        return tuple(self._steps), self._shared

    def _stage(self, stage: Stage) -> None:
        triggers = _triggers(stage.base) if stage.base else []
        work = sum(each.word in WORK for each in stage.commands)
        position = _working(triggers) if work else 0
        base = self._contexts.get(stage)
        if stage.base is not None:
            chain = self._ends.get(stage.base, "")
            folder = self._folders.get(stage.base)
            for trigger in triggers:
                chain = _chained(chain, trigger)
                folder = None
        else:
            chain = _digest(f"from {base.context if base else SCRATCH}")
            folder = None if base else "/"
        self._add(stage, stage.start, chain, None, base.context if base else "")
        for command in stage.commands:
            works = command.word in WORK
            if command.word == "workdir":
                folder = self._folder(folder, command)
                works = folder != "/"
            position += works
            if command.word not in _TITLES:
                chain = _chained(chain, command.text + command.body)
            self._add(stage, command, chain, position if works else None)
        self._ends[stage] = chain
        self._folders[stage] = folder

    def _add(
        self, stage: Stage, instruction: Instruction, chain: str, position: int | None,
        base: str = "",
    ) -> None:  # fmt: skip
        number = len(self._steps) + 1
        key = chain
        if instruction.word == "from":
            key = f"{chain} from"
        elif instruction.word in _TITLES:
            key = f"{chain} {instruction.text}"
        self._shared[number] = self._first.setdefault(key, number)
        label = "" if self._stages.alone else stage.name or f"stage-{stage.index}"
        text = instruction.text.strip(SPACES)[:MAX_STEP_CHARACTERS]
        self._steps.append(
            Step(
                number=number, stage=label, position=position, line=instruction.line, text=text,
                base=base,
            )
        )  # fmt: skip

    def _folder(self, folder: str | None, command: Instruction) -> str | None:
        """The working directory after WORKDIR, or None if unknown. "/" is no work for BuildKit."""
        if "$" in command.arguments:
            return None
        try:
            path = Lexer(command.arguments, {}, self._budget, escape=self._escape).word()
        except (TooMuchWork, Unreadable):
            return None
        if path.startswith("/"):
            return path
        return None if folder is None else "/" + normpath(f"{folder}/{path}").lstrip("/")


def _working(triggers: list[str]) -> int:
    words = (trigger.lstrip(SPACES)[:20].split(maxsplit=1) for trigger in triggers)
    return sum(word[0].lower() in WORK for word in words if word)


def _triggers(stage: Stage) -> list[str]:
    return [each.arguments for each in stage.commands if each.word == "onbuild"]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _chained(chain: str, text: str) -> str:
    return _digest(f"{chain} {text}")


def _platform_arguments(platform: str, build_args: Mapping[str, str]) -> dict[str, str]:
    system, machine, variant = [*platform.split("/"), "", ""][:3]
    values = {}
    for side in ("BUILD", "TARGET"):
        values[f"{side}PLATFORM"] = platform
        values[f"{side}OS"] = system
        values[f"{side}ARCH"] = machine
        values[f"{side}VARIANT"] = variant
    return {name: build_args.get(name, value) for name, value in values.items()}


def _platform_of(wanted: Expanded, start: Instruction) -> str:
    try:
        return normalise(wanted.text)
    except NotAPlatform as error:
        if wanted.without_value:
            raise _unset(wanted, start) from error
        raise DockerfileRefused(
            f"{wanted.text[:80]!r} is no platform: write it like linux/amd64", line=start.line
        ) from error


def _refuse_unreadable(image: Expanded, start: Instruction) -> None:
    if image.problem:
        raise DockerfileRefused(f"FROM cannot be read: {image.problem}", line=start.line)
    if not image.text:
        if image.without_value:
            raise _unset(image, start)
        raise DockerfileRefused("FROM names no image: write one", line=start.line)


def _unset(text: Expanded, start: Instruction) -> DockerfileRefused:
    name = text.without_value[0][:80]
    return DockerfileRefused(
        f"FROM needs ${name}, which has no value: declare ARG {name} above the first FROM, with a "
        "default or with a build argument of that name",
        line=start.line,
    )


def _refuse_mode(command: Instruction) -> None:
    """Refuse modes that are not octal: BuildKit 0.13 ignores them without an error."""
    for flag in command.flags.values("chmod"):
        if flag.value and not _OCTAL.fullmatch(flag.value):
            raise DockerfileRefused(
                f"--chmod={flag.value[:80]} would be left out in silence, because modes are octal "
                "here: write it like --chmod=0755",
                line=command.line,
            )


def _refuse_much_work(instructions: Iterable[Instruction]) -> None:
    size = 0
    for each in instructions:
        if each.word not in WORK:
            continue
        size += len(each.text.encode()) + len(each.body.encode())
        if size > MAX_WORK_BYTES:
            raise DockerfileRefused(
                f"the instructions up to this one have {size:,} bytes, and {MAX_WORK_BYTES:,} are "
                "allowed: put scripts and data into the build context and COPY them",
                line=each.line,
            )


def _refuse_run(command: Instruction, budget: Budget) -> None:
    for flag in command.flags.all:
        if flag.name == "security" and flag.value == "insecure":
            raise DockerfileRefused(
                "no build here runs with --security=insecure: leave it out", line=command.line
            )
        if flag.name == "mount":
            _refuse_required(flag, command, budget)


def _refuse_required(flag: Flag, command: Instruction, budget: Budget) -> None:
    what = {"secret": "secrets", "ssh": "SSH agents"}
    if kind := mounts.required_kind(mounts.read_fields(flag.value), budget):
        raise DockerfileRefused(
            f"builds here get no {what[kind]} yet: leave `required` out and do without where "
            "there is none, or put the files into the build context",
            line=command.line,
        )


def _prefix(text: str, source: Source, build_args: Mapping[str, str]) -> str:
    """A prefix for names of contexts that does not occur in the user's texts."""
    texts = [text, *(each.text for each in source.instructions), *build_args.values()]
    texts = [each.lower() for each in texts]
    if not any(f"{PREFIX}-" in each for each in texts):
        return PREFIX
    taken = {int(number) for each in texts for number in _TAKEN.findall(each)}
    number = next(number for number in range(1, len(taken) + 2) if number not in taken)
    return f"{PREFIX}-{number}"


def _edited(text: str, edits: Iterable[Edit]) -> str:
    return "".join(_pieces(text, sorted(edits)))


def _pieces(text: str, edits: list[Edit]) -> Iterator[str]:
    at = 0
    for start, end, new in edits:
        yield text[at:start]
        yield new
        at = end
    yield text[at:]
