"""Which routes take a body, how large, and from whom: decided by a request's headers.

A view says it with `body_limits`, by method, and its callers have to be known before the body is
read. Everything else gets MEMORY_BYTES from anybody, which are kept in memory.
"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.urls import Resolver404, resolve

from accounts.credentials import CHALLENGE, BadCredentials, Headers, check_headers, known_caller
from accounts.models import User
from common.error_codes import DATABASE_AWAY, CodedError
from common.outages import DATABASE_OUTAGES, HEADERS
from webserver.connection import Refusal, refusal
from webserver.upload_budget import MEMORY_BYTES, Allowed, Uploads

CALLERS = 4
"""That may fill the budget together: one alone may take this part of it, or one largest body."""
SHORT_BYTES = 4 * 1024 * 1024
"""Of a body from somebody known that is received before the view's own checks: asking the database
first would take longer than receiving it in vain."""
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


def check_at_once(headers: Headers, method: str, path: str) -> Allowed | None:
    """For the event loop: without asking the database. None where that is needed."""
    limit = limit_of(method, path)
    if limit is None:
        return Allowed(MEMORY_BYTES)
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > SHORT_BYTES:
        return None
    caller = known_caller(headers)
    return Allowed(min(limit, SHORT_BYTES), caller) if caller else None


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
        return refusal(problem.error_code, str(problem), [("WWW-Authenticate", CHALLENGE)])
    except DATABASE_OUTAGES:
        return refusal(DATABASE_AWAY, headers=[*HEADERS.items()])
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
    except CodedError as problem:
        return refusal(problem.error_code, str(problem), problem.headers.items())
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
    view = getattr(found.func, "cls", found.func)
    limits: dict[str, int] = getattr(view, "body_limits", {})
    return limits.get(method)
