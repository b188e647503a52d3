"""Reasons to refuse a request that are about no single field of a form."""

from collections.abc import Iterable
from typing import Any

from rest_framework import exceptions


class Invalid(exceptions.APIException):
    """422 for one fault that is not a field's."""

    status_code = 422

    def __init__(self, kind: str, text: str, *location: str) -> None:
        super().__init__(text)
        self.entries: list[dict[str, Any]] = [
            {"type": kind, "loc": list(location), "msg": text, "input": None}
        ]


class UnknownParameters(Invalid):
    """422 that names every parameter of a query string that an operation does not have."""

    def __init__(self, unknown: Iterable[str], known: Iterable[str]) -> None:
        text = f"There is no such parameter; {named(known)}"
        super().__init__("extra_forbidden", text, "query")
        [entry] = self.entries
        self.entries = [{**entry, "loc": ["query", name]} for name in unknown]


def named(known: Iterable[str]) -> str:
    """What there is, in words."""
    names = ", ".join(known)
    return f"there are: {names}" if names else "there are none"
