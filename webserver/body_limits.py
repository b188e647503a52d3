"""Decides from a request's headers how large its body may be, and from whom.

A view sets its limits with `body_limits`, by method. Its callers are authenticated before the body
is read. All other routes accept MEMORY_BYTES from anybody, which are kept in memory.
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
"""One caller may use this fraction of the budget (1/CALLERS), or one body of the largest size."""
SHORT_BYTES = 4 * 1024 * 1024
"""Bodies up to this size from a known caller are received before the view's own checks: a database
query would take longer than receiving a body that is then refused."""
FREE_BYTES = 256 * 1024 * 1024
"""Disk space that bodies never use."""
ADMIN_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
"""Limit for the admin's forms, whose callers are signed in."""


def uploads() -> Uploads:
    """The budget of all bodies on this machine's disk, from the settings."""
    return Uploads(
        Path(settings.FILE_UPLOAD_TEMP_DIR),
        total=settings.UPLOAD_BYTES,
        per_caller=max(settings.MAX_BODY_BYTES, settings.UPLOAD_BYTES // CALLERS),
        free=FREE_BYTES,
    )


def check_at_once(headers: Headers, method: str, path: str) -> Allowed | None:
    """The check for the event loop, without a database query. None if `check` is needed."""
    limit = limit_of(method, path)
    if limit is None:
        return Allowed(MEMORY_BYTES)
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > SHORT_BYTES:
        return None
    caller = known_caller(headers)
    return Allowed(min(limit, SHORT_BYTES), caller) if caller else None


def check(headers: Headers, method: str, path: str) -> Refusal | Allowed:
    """Authenticate the caller and return the allowed size, or a refusal. Runs in a thread."""
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
    """Refuse what the view's `check_before_body` refuses for any body.

    Only for callers with proven identity: a request with another user's hotkey learns nothing.
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
    """The API's view class for a path. None if there is none."""
    try:
        return getattr(resolve(path).func, "cls", None)
    except Resolver404:
        return None


def limit_of(method: str, path: str) -> int | None:
    """The body limit in bytes of a route for known callers. None if the route sets no limit."""
    try:
        found = resolve(path)
    except Resolver404:
        return None
    if "admin" in found.app_names:
        # The sign-in form is small, and its caller is not known yet.
        return None if found.url_name == "login" else ADMIN_BYTES
    view = getattr(found.func, "cls", found.func)
    limits: dict[str, int] = getattr(view, "body_limits", {})
    return limits.get(method)
