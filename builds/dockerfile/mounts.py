"""Parses the value of `RUN --mount=…`: comma-separated fields by the rules of Go's CSV reader."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from builds.dockerfile.errors import LeftToBuildKit
from builds.dockerfile.expansion import Budget, Lexer, Unreadable

_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_GIVEN_BY_CLIENT = {"secret", "ssh"}


@dataclass(frozen=True, slots=True)
class Field:
    """`key=value`, or `key` alone."""

    key: str
    value: str | None
    places: Sequence[int]
    """Index of each character of `value` in the flag's value."""


def read_fields(mount: str) -> list[Field]:
    """Parse the fields. Raises LeftToBuildKit for an empty value and for invalid quotes."""
    if not mount:
        raise LeftToBuildKit
    return [_field(*each) for each in _split(mount)]


def _field(text: str, places: Sequence[int]) -> Field:
    key, equals, value = text.partition("=")
    if not equals:
        return Field(key.lower(), None, ())
    return Field(key.lower(), value, places[len(key) + 1 :])


def _split(mount: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Each field and the index of each of its characters."""
    at = 0
    while True:
        if mount.startswith('"', at):
            places, at = _quoted(mount, at + 1)
            yield "".join(mount[place] for place in places), places
        else:
            end = mount.find(",", at)
            end = len(mount) if end < 0 else end
            if '"' in mount[at:end]:
                raise LeftToBuildKit
            yield mount[at:end], range(at, end)
            at = end
        if at >= len(mount):
            return
        if mount[at] != ",":
            raise LeftToBuildKit
        at += 1


def _quoted(mount: str, at: int) -> tuple[Sequence[int], int]:
    """The indexes of a quoted field's characters, and its end. A doubled quote is one character."""
    places = array("l")
    while at < len(mount):
        places.append(at)
        if mount[at] == '"':
            at += 1
            if not mount.startswith('"', at):
                return places[:-1], at
        at += 1
    raise LeftToBuildKit


def source_of(fields: list[Field]) -> Field | None:
    """The last `from` field, which names the source of the mount. None without one."""
    found = [field for field in fields if field.key == "from" and field.value is not None]
    return found[-1] if found and found[-1].value else None


def required_kind(fields: list[Field], budget: Budget) -> str:
    """`secret` or `ssh` if the mount is required; empty otherwise.

    A type with variables is left to BuildKit, which fails at the step.
    """
    kind, required = "bind", False
    for field in fields:
        if field.key == "type":
            kind = _plain(field.value or "", budget).lower()
        elif field.key == "required" and kind in _GIVEN_BY_CLIENT:
            required = field.value is None or _plain(field.value, budget) in _TRUE
    return kind if required and kind in _GIVEN_BY_CLIENT else ""


def _plain(value: str, budget: Budget) -> str:
    if "$" in value:
        return ""
    try:
        return Lexer(value, {}, budget).word()
    except Unreadable:
        return ""
