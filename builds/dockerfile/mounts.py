"""The value of `RUN --mount=…`: comma-separated fields by the rules of Go's CSV reader."""

from collections.abc import Iterator
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
    places: tuple[int, ...]
    """Where each character of the value stands in the flag's value."""


def read_fields(mount: str) -> list[Field]:
    """Raises LeftToBuildKit for quotes that are not CSV."""
    if not mount:
        raise LeftToBuildKit
    return [_field(text) for text in _split(mount)]


def _field(characters: list[tuple[str, int]]) -> Field:
    text = "".join(char for char, _ in characters)
    key, equals, value = text.partition("=")
    if not equals:
        return Field(key.lower(), None, ())
    places = tuple(place for _, place in characters[len(key) + 1 :])
    return Field(key.lower(), value, places)


def _split(mount: str) -> Iterator[list[tuple[str, int]]]:
    """Each field as characters with their places."""
    at = 0
    while True:
        quoted = mount.startswith('"', at)
        field: list[tuple[str, int]] = []
        at += quoted
        while at < len(mount):
            char = mount[at]
            if quoted and char == '"':
                if mount[at + 1 : at + 2] != '"':
                    at += 1
                    quoted = False
                    if mount[at : at + 1] not in {"", ","}:
                        raise LeftToBuildKit
                    break
                at += 1
            elif not quoted and char in ',"':
                if char == '"':
                    raise LeftToBuildKit
                break
            field.append((char, at))
            at += 1
        if quoted:
            raise LeftToBuildKit
        yield field
        if at >= len(mount):
            return
        at += 1


def source_of(fields: list[Field]) -> Field | None:
    """The field that says where the mount comes from; the last one counts."""
    found = [field for field in fields if field.key == "from" and field.value is not None]
    return found[-1] if found and found[-1].value else None


def required_kind(fields: list[Field], budget: Budget) -> str:
    """`secret` or `ssh` where the build cannot do without; empty otherwise.

    A type with variables is left to BuildKit, which fails at the step.
    """
    kind, required = "bind", False
    for field in fields:
        value = None if field.value is None else _plain(field.value, budget)
        if field.key == "type":
            kind = (value or "").lower()
        elif field.key == "required" and kind in _GIVEN_BY_CLIENT:
            required = field.value is None or value in _TRUE
    return kind if required and kind in _GIVEN_BY_CLIENT else ""


def _plain(value: str, budget: Budget) -> str:
    if "$" in value:
        return ""
    try:
        return Lexer(value, {}, budget).word()
    except Unreadable:
        return ""
