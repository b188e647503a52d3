"""Which routes take a body, how large, and from whom: decided by a request's headers.

A view says it with `body_limits`, by method, and its callers have to be known before the body is
read. Everything else gets MEMORY_BYTES from anybody, which are kept in memory.
"""

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django.urls import Resolver404, resolve

from accounts.credentials import CHALLENGE, BadCredentials, Headers, check_headers
from accounts.models import User
from api.exceptions import TooMany
from common.outages import HEADERS, away
from webserver.connection import Refusal
from webserver.upload_budget import MEMORY_BYTES, Allowed, Uploads

CALLERS = 4
"""That may fill the budget together: one alone may take this part of it, or one largest body."""
FREE_BYTES = 256 * 1024 * 1024
"""Which bodies leave on the disk for everything else."""
ADMIN_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
"""Of the admin's forms, whose callers are signed in."""


def uploads() -> Uploads:
    """What all bodies together may take on this machine's disk."""
    return Uploads(
        Path(settings.FILE_UPLOAD_TEMP_DIR),
        total=settings.UPLOAD_BYTES,
        per_caller=max(settings.MAX_BODY_BYTES, settings.UPLOAD_BYTES // CALLERS),
        free=FREE_BYTES,
    )


def check(headers: Headers, method: str, path: str) -> Refusal | Allowed:
    """For any thread."""
    limit = limit_of(method, path)
    if limit is None:
        return Allowed(MEMORY_BYTES)
    close_old_connections()
    try:
        caller = check_headers(headers)
        refused = _check_caller(caller, method, path)
        return refused or Allowed(limit, caller)
    except BadCredentials as problem:
        return _refusal(HTTPStatus.UNAUTHORIZED, str(problem), [("WWW-Authenticate", CHALLENGE)])
    except (OperationalError, InterfaceError) as problem:
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, away(problem), [*HEADERS.items()])
    finally:
        close_old_connections()


def _check_caller(caller: str, method: str, path: str) -> Refusal | None:
    """What the view would refuse whatever the body is.

    Only of callers who are known for certain: whoever names another's hotkey is told nothing.
    """
    kind, _, identity = caller.partition(":")
    check_before_body = getattr(_view(path), "check_before_body", None)
    if check_before_body is None or kind != "user":
        return None
    try:
        check_before_body(method, User.objects.get(pk=identity))
    except TooMany as problem:
        wait = str(getattr(problem, "wait", 0))
        return _refusal(HTTPStatus.TOO_MANY_REQUESTS, str(problem.detail), [("Retry-After", wait)])
    return None


def _view(path: str) -> Any:
    """The class of the API's view at an address; None where there is none."""
    try:
        return getattr(resolve(path).func, "cls", None)
    except Resolver404:
        return None


def limit_of(method: str, path: str) -> int | None:
    """The bytes that the route takes from callers who are known. None where it says nothing."""
    try:
        found = resolve(path)
    except Resolver404:
        return None
    if "admin" in found.app_names:
        # To sign in takes little, and who signs in is not known yet.
        return None if found.url_name == "login" else ADMIN_BYTES
    limits: dict[str, int] = getattr(getattr(found.func, "cls", None), "body_limits", {})
    return limits.get(method)


def _refusal(status: HTTPStatus, detail: Any, headers: list[tuple[str, str]]) -> Refusal:
    return Refusal(status, json.dumps({"detail": detail}).encode(), headers)
