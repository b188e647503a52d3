"""Names, ids and references of images: which are valid, and which image a text means.

An id is a UUID of version 5 over `owner/name:tag` in lower case, as the command line computes it.
The reference server computes another id when name or tag have capitals; both ids find the image.
"""

import re
from dataclasses import dataclass
from uuid import NAMESPACE_OID, UUID, uuid5

from common.repository_grammar import COMPONENT, REPOSITORY

TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
"""As in registries, but without `_` at the beginning."""
NAME_LENGTH = range(3, 66)
ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
"""Valid names of build arguments."""
_PART = COMPONENT.replace("a-z0-9", "A-Za-z0-9").replace("(?:", "(")
NAMES = f"^{_PART}(/{_PART})*$"
TAGS = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""The same for JSON Schema, without the checks of lower case and of reserved words."""
RESERVED = frozenset({"logs", "builds", "cancel", "rebuild", "search", "badge.svg"})
"""Last parts of URLs below an image: no name may end with one of them."""


class BadName(ValueError):
    """No registry would accept the name, or no URL could reach the image. The text says what is
    valid."""


def check_name(name: str) -> None:
    if len(name) not in NAME_LENGTH:
        raise BadName("takes 3 to 65 characters")
    if not _could_be(name):
        raise BadName(
            "takes letters and digits, with single '.', '_' or '__' or any '-' between them, "
            "in parts separated by '/'"
        )
    last = name.lower().rpartition("/")[2]
    if last in RESERVED:
        raise BadName(f"must not end in {last!r}, which is an address under an image")


def check_tag(tag: str) -> None:
    if not TAG.fullmatch(tag):
        raise BadName(
            "takes 1 to 128 letters, digits, '_', '.' and '-', starting with a letter or digit"
        )


def image_id(owner: str, name: str, tag: str) -> UUID:
    return uuid5(NAMESPACE_OID, f"{owner}/{name}:{tag}".lower())


def reference_id(owner: str, name: str, tag: str) -> UUID:
    """The id of the same image as the reference server computes it."""
    return uuid5(NAMESPACE_OID, f"{owner.lower()}/{name}:{tag}")


def repository(owner: str, name: str) -> str:
    """The repository in the registry, without the host: in lower case, as registries require."""
    return f"{owner}/{name}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One meaning of a text from a user. No owner means the caller, no tag the newest image."""

    owner: str | None
    name: str
    tag: str | None


def readings(text: str) -> tuple[UUID | None, list[Reference]]:
    """Everything that `text` can mean: an id, or names, with the caller's own names first."""
    text = text.strip("/")
    try:
        found = UUID(text)
    except ValueError:
        found = None
    name, colon, tag = text.rpartition(":") if ":" in text else (text, "", "")
    if colon and not TAG.fullmatch(tag):
        return found, []
    owner, slash, rest = name.partition("/")
    spelled = [(None, name), (owner, rest)] if slash else [(None, name)]
    return found, [
        Reference(owner=owner, name=name, tag=tag or None)
        for owner, name in spelled
        if _could_be(name) and (owner is None or _could_be(owner))
    ]


def is_tagless(text: str) -> bool:
    """Whether `text` can only be a name without a tag."""
    identity, references = readings(text)
    return identity is None and any(each.tag is None for each in references)


def _could_be(name: str) -> bool:
    # Some non-ASCII letters have an ASCII letter as their lower case.
    return name.isascii() and REPOSITORY.fullmatch(name.lower()) is not None
