"""Scopes of API keys: `all`, `images:read` or `images:read:<id of an image>`; webhooks likewise."""

import re
from collections.abc import Iterable
from uuid import UUID

ALL = "all"
READ, WRITE, DELETE = "read", "write", "delete"
ACTIONS = (READ, WRITE, DELETE)
OBJECTS = ("images", "webhooks")
FORM = re.compile(
    rf"({'|'.join(OBJECTS)}):({READ}|{WRITE}|{DELETE})"
    r"(?::([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}))?"
)


class BadScope(ValueError):
    """The text is not a valid scope."""


def check(scope: object) -> None:
    """Check that `scope` is valid. Raises BadScope."""
    if not isinstance(scope, str) or (scope != ALL and not FORM.fullmatch(scope)):
        raise BadScope(
            f"{scope!r} is no scope; there are {ALL}, images:{READ}, images:{WRITE} and "
            f"images:{DELETE}, the last three also bound to one image as in images:{READ}:<uuid>"
        )


def action_of(method: str) -> str:
    """The action that an HTTP method requires."""
    return {"GET": READ, "HEAD": READ, "OPTIONS": READ, "DELETE": DELETE}.get(method, WRITE)


def allows(
    scopes: Iterable[str], kind: str | None, action: str, identity: UUID | str | None = None
) -> bool:
    """Whether the scopes allow `action` on all objects of `kind`, or on the one given."""
    granting = {ALL}
    if kind is not None:
        granting |= {f"{kind}:{action}", f"{kind}:{action}:{identity}"}
    return not granting.isdisjoint(scopes)


def allows_some(scopes: Iterable[str], kind: str | None, action: str) -> bool:
    """Whether the scopes allow `action` on at least one object of `kind`."""
    return any(
        allows([scope], kind, action) or scope.startswith(f"{kind}:{action}:") for scope in scopes
    )
