"""ONBUILD triggers in the config of a fetched base."""

from collections.abc import Collection, Iterator, Sequence

from builds.dockerfile import mounts
from builds.dockerfile.errors import DockerfileRefused, LeftToBuildKit
from builds.dockerfile.expansion import Budget
from builds.dockerfile.references import NotAReference, qualify
from builds.dockerfile.source import Instruction, lower, parse

MAX_TRIGGERS = 100
MAX_TRIGGER_BYTES = 64 * 1024


def onbuild_references(triggers: Sequence[str], *, stages: Collection[str]) -> tuple[str, ...]:
    """Images that the triggers copy or mount from, as they are written, each once.

    `stages` are the names of the Dockerfile's stages (`Dockerfile.stages`); names and numbers of
    stages are no images. BuildKit 0.13 cannot take images here: the build fails with "it needs to
    be defined before current stage", with or without a named context. So a worker can refuse the
    base early, with the line of its FROM.

    Raises DockerfileRefused without a line for triggers beyond the limits.
    """
    if len(triggers) > MAX_TRIGGERS:
        raise DockerfileRefused(f"the base image has more than {MAX_TRIGGERS} ONBUILD triggers")
    if any(len(trigger.encode(errors="replace")) > MAX_TRIGGER_BYTES for trigger in triggers):
        raise DockerfileRefused(
            f"the base image has an ONBUILD trigger of more than {MAX_TRIGGER_BYTES} bytes"
        )
    found: dict[str, None] = {}
    budget = Budget()
    for trigger in triggers:
        try:
            for instruction in parse(trigger, "\\", budget).instructions:
                found.update(dict.fromkeys(_names(instruction)))
        except LeftToBuildKit:
            continue
    return tuple(name for name in found if lower(name) not in stages and _is_image(name))


def _names(instruction: Instruction) -> Iterator[str]:
    if instruction.word == "copy":
        for flag in instruction.flags.values("from"):
            if not flag.value.lstrip("+-").isdecimal():
                yield flag.value
    elif instruction.word == "run":
        for flag in instruction.flags.values("mount"):
            field = mounts.source_of(mounts.read_fields(flag.value))
            if field and field.value:
                yield field.value


def _is_image(name: str) -> bool:
    try:
        qualify(name)
    except NotAReference:
        return False
    return name != "scratch"
