"""Validation errors that do not belong to one field of a form."""

from collections.abc import Iterable
from typing import Any

from rest_framework import exceptions


class Invalid(exceptions.APIException):
    """422 for one error that does not belong to a field."""

    status_code = 422

    def __init__(self, kind: str, text: str, *location: str) -> None:
        super().__init__(text)
        self.entries: list[dict[str, Any]] = [
            {"type": kind, "loc": list(location), "msg": text, "input": None}
        ]


class UnknownParameters(Invalid):
    """422 that names every unknown parameter of a query string."""

    def __init__(self, unknown: Iterable[str], known: Iterable[str]) -> None:
        text = f"There is no such parameter; {named(known)}"
        super().__init__("extra_forbidden", text, "query")
        [entry] = self.entries
        self.entries = [{**entry, "loc": ["query", name]} for name in unknown]


def named(known: Iterable[str]) -> str:
    """List the known names in words."""
    names = ", ".join(known)
    return f"there are: {names}" if names else "there are none"
