"""Authentication of websockets (origin, session, API key, signature), and its re-check."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import HttpRequest, parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils import timezone

from accounts.credentials import Headers, Signature, claimed_key
from accounts.models import ApiKey, User

LOCAL_HOSTS = ["localhost", ".localhost", "127.0.0.1", "[::1]"]


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """The authenticated user of a websocket, or an anonymous one."""

    user: User | AnonymousUser
    key: ApiKey | None = None
    session: str = ""


def headers_of(scope: Mapping[str, Any]) -> Headers:
    """Headers of an ASGI scope by lower-case name."""
    return {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}


def may_come_from(headers: Headers) -> bool:
    """Whether the host is allowed, and the origin, if there is one, is the same host or trusted."""
    host = headers.get("host", "")
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    if not validate_host(split_domain_port(host)[0], allowed):
        return False
    origin = headers.get("origin")
    if origin is None:  # not a browser: browsers always send it
        return True
    return origin in settings.CSRF_TRUSTED_ORIGINS or urlsplit(origin).netloc == host.lower()


def caller_of(headers: Headers, *, purpose: str) -> Caller:
    """Authenticate the headers of a handshake. Anonymous without credentials. Raises
    BadCredentials."""
    signature = Signature.claimed(headers)
    if signature is not None:
        signature.check(purpose)
        user = signature.user()
        signature.spend()
        return Caller(user)
    key = claimed_key(headers)
    if key is not None:
        key.note_use()
        return Caller(key.user, key)
    session = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME, "")
    if not session:
        return Caller(AnonymousUser())
    request = HttpRequest()
    request.session = SessionStore(session)
    found = get_user(request)
    return Caller(found, session=session) if isinstance(found, User) else Caller(AnonymousUser())


def still_good(callers: Iterable[Caller]) -> set[Caller]:
    """The callers whose credentials are still valid. Three queries for any number of callers."""
    callers = list(callers)
    users = {
        user.pk: user
        for user in User.objects.filter(
            pk__in={each.user.pk for each in callers if each.user.pk}, is_active=True
        )
    }
    keys = set(
        ApiKey.objects.usable()
        .filter(pk__in={each.key.pk for each in callers if each.key})
        .values_list("pk", flat=True)
    )
    sessions = set(
        Session.objects.filter(
            session_key__in={each.session for each in callers if each.session},
            expire_date__gt=timezone.now(),
        ).values_list("session_key", flat=True)
    )
    return {
        each
        for each in callers
        if (not isinstance(each.user, User) or _is_same(each.user, users.get(each.user.pk)))
        and (each.key is None or each.key.pk in keys)
        and (not each.session or each.session in sessions)
    }


def _is_same(before: User, now: User | None) -> bool:
    # A changed password ends sessions.
    return now is not None and now.password == before.password
