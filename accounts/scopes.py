"""What an API key may do: `all`, or `images:read`, or `images:read:<id of an image>`."""

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
    """The text is no scope."""


def check(scope: object) -> None:
    """Raises BadScope."""
    if not isinstance(scope, str) or (scope != ALL and not FORM.fullmatch(scope)):
        raise BadScope(
            f"{scope!r} is no scope; there are {ALL}, images:{READ}, images:{WRITE} and "
            f"images:{DELETE}, the last three also bound to one image as in images:{READ}:<uuid>"
        )


def action_of(method: str) -> str:
    """The action that a request's method stands for."""
    return {"GET": READ, "HEAD": READ, "OPTIONS": READ, "DELETE": DELETE}.get(method, WRITE)


def allows(
    scopes: Iterable[str], kind: str | None, action: str, identity: UUID | str | None = None
) -> bool:
    """Whether `action` on things of `kind` is granted, for all of them or for the one named."""
    granting = {ALL}
    if kind is not None:
        granting |= {f"{kind}:{action}", f"{kind}:{action}:{identity}"}
    return not granting.isdisjoint(scopes)


def allows_some(scopes: Iterable[str], kind: str | None, action: str) -> bool:
    """Whether it is granted for at least one of them."""
    return any(
        allows([scope], kind, action) or scope.startswith(f"{kind}:{action}:") for scope in scopes
    )
