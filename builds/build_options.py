"""Validation of the options of a build, shared by API and runner."""

import re
from collections.abc import Iterable, Mapping

TEXT_CHARACTERS = 1024 * 1024
"""Maximum length of a Dockerfile, and of a readme."""
ARGS_CHARACTERS = 64 * 1024
"""Maximum length of all build arguments as sent."""
TARGET_CHARACTERS = 128
TARGETS = r"^([A-Za-z][A-Za-z0-9_.-]*|[0-9]+)?$"
"""JSON Schema pattern of stage names and numbers; empty means the last stage."""
MOST_LABELS = 100
LABEL_NAME_CHARACTERS = 255
LABELS_BYTES = 64 * 1024
"""Maximum size of all label names and values together."""

BUILDER_PREFIX = "BUILDKIT_"
HARMLESS_BUILDER_ARGS = frozenset(
    {
        # Adds a description of the build's own layers to the image's config.
        "BUILDKIT_INLINE_CACHE",
        # Keeps .git in contexts that are git repositories; contexts here are archives.
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        # The host name that RUN sees, in a namespace of its own.
        "BUILDKIT_SANDBOX_HOSTNAME",
    }
)
"""Build arguments that BuildKit itself reads and that change nothing outside the build.

Others are dangerous or break the build: BUILDKIT_SYNTAX runs a program chosen by the sender in
place of the Dockerfile frontend; BUILDKIT_MULTI_PLATFORM produces an index where the registry
expects one manifest.
"""

_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*|[0-9]+", re.ASCII)
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?", re.ASCII)
_RESERVED_LABELS = "slipway."


class OptionRefused(ValueError):
    """The option has an invalid value. The message names the option and the valid values."""


def check_build_args(names: Iterable[str]) -> None:
    """Raises OptionRefused for an argument that would configure the builder."""
    for name in names:
        if name.startswith(BUILDER_PREFIX) and name not in HARMLESS_BUILDER_ARGS:
            allowed = ", ".join(sorted(HARMLESS_BUILDER_ARGS))
            raise OptionRefused(
                f"the build argument {name[:100]} would configure the builder: "
                f"leave it out (of {BUILDER_PREFIX}* only {allowed} are allowed)"
            )


def check_target(target: str) -> None:
    """Check the name of a stage; empty means the last one. Raises OptionRefused."""
    if target and (len(target) > TARGET_CHARACTERS or not _TARGET.fullmatch(target)):
        raise OptionRefused(
            "takes the name of a stage (letters, digits, '_', '.' and '-', starting with a letter, "
            f"at most {TARGET_CHARACTERS} characters) or its number"
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Check names, number and total size of labels. Raises OptionRefused."""
    if len(labels) > MOST_LABELS:
        raise OptionRefused(f"takes at most {MOST_LABELS} labels")
    for name, value in labels.items():
        if len(name) > LABEL_NAME_CHARACTERS or not _LABEL_NAME.fullmatch(name):
            raise OptionRefused(
                f"{name[:100]!a} is no name of a label: use letters and digits, with '.', "
                f"'_', '/' and '-' between them, at most {LABEL_NAME_CHARACTERS} characters"
            )
        if name.lower().startswith(_RESERVED_LABELS):
            raise OptionRefused(f"{name[:100]} is reserved: {_RESERVED_LABELS}* are Slipway's own")
        if "\0" in value:
            raise OptionRefused(f"the label {name} has a NUL byte in its value")
    if sum(len(name.encode()) + len(value.encode()) for name, value in labels.items()) > (
        LABELS_BYTES
    ):
        raise OptionRefused(f"takes at most {LABELS_BYTES:,} bytes of names and values together")
