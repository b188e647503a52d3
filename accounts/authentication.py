"""Who calls a view, and whether they may: signatures, API keys, sessions, scopes, anonymity.

A view says with attributes what it takes:

* `signature_purpose`: what a hotkey signs in requests that carry no body;
* `scope_object`: the kind of thing that scopes of API keys name, such as "images";
* `any_key`: that every API key will do, whatever its scopes;
* `anonymous_allowed`: that no credentials are needed. Wrong ones are refused all the same.
"""

import hashlib
from typing import Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts import scopes
from accounts.credentials import CHALLENGE, BadCredentials, Signature, claimed_key
from accounts.models import ApiKey, User
from common import error_codes

EMPTY = hashlib.sha256(b"").hexdigest()
BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class MissingScope(AuthenticationFailed):
    """401 for what a key may not do: the reference server never answers 403."""

    def __init__(self, kind: str, action: str, *, one: bool = False) -> None:
        problem = error_codes.INSUFFICIENT_SCOPE
        scope = f"{kind}:{action}" if kind else scopes.ALL
        named = f"{scope} for this one" if one else scope
        super().__init__(problem.text.format(scope=named), problem.code)
        challenge = f'{CHALLENGE}, error="{problem.code}", scope="{scope}"'
        self.headers = {"WWW-Authenticate": challenge}


def body_digest(request: Request) -> str:
    """The SHA-256 of the body as it was sent, in lower-case hex.

    Without our web server Django's limit for bodies in memory holds.
    """
    body = request.META.get("slipway.body")
    digest: str = body.sha256() if body is not None else hashlib.sha256(request.body).hexdigest()
    return digest


class HotkeyAuthentication(BaseAuthentication):
    """A signature of `hotkey:nonce:<content>`.

    The content is the purpose of a request that never has a body, the digest of a body, or method
    and path of a request that could have one and has none: `POST /images/owner/app:1/cancel`.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        view = request.parser_context["view"]
        try:
            signature = Signature.claimed(request.headers)
            if signature is None:
                return None
            signature.check(self.content(request, view))
            try:
                user = signature.user()
            except BadCredentials:
                if getattr(view, "anonymous_allowed", False):
                    return None  # the reference server's exception: a key of nobody is nobody
                raise
            signature.spend()
        except BadCredentials as problem:
            raise AuthenticationFailed(str(problem), problem.error_code.code) from problem
        return user, None

    def content(self, request: Request, view: Any) -> str:
        if request.method not in BODILESS:
            digest = body_digest(request)
            if digest == EMPTY:
                # The digest of nothing would fit every address; clients of the reference server
                # send no such request.
                return f"{request.method} {request.path}"
            return digest
        purpose: str | None = getattr(view, "signature_purpose", None)
        if purpose is None:
            raise BadCredentials(error_codes.CREDENTIALS_MALFORMED)
        return purpose

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class KeyAuthentication(BaseAuthentication):
    """An API key, which becomes `request.auth`."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        try:
            key = claimed_key(request.headers, cached=True)
        except BadCredentials as problem:
            raise AuthenticationFailed(str(problem), problem.error_code.code) from problem
        if key is None:
            return None
        key.note_use()
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


AUTHENTICATION: list[type[BaseAuthentication]] = [
    HotkeyAuthentication,
    KeyAuthentication,
    SessionAuthentication,
]


class ScopePermission(BasePermission):
    """Takes users, API keys within their scopes, and anybody where the view says so.

    A key for single things passes where the address names one; the view then has to call
    `check_object_permissions` with what it found.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            if getattr(view, "anonymous_allowed", False):
                return True
            missing = error_codes.CREDENTIALS_MISSING
            raise NotAuthenticated(missing.text, missing.code)
        if isinstance(request.auth, ApiKey) and not getattr(view, "any_key", False):
            names_one = getattr(view, "lookup_field", None) in view.kwargs
            granted = scopes.allows_some if names_one else scopes.allows
            kind, action = _needed(request, view)
            if not granted(request.auth.scopes, kind, action):
                raise MissingScope(kind or "", action)
        return True

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        if isinstance(request.auth, ApiKey):
            kind, action = _needed(request, view)
            if not scopes.allows(request.auth.scopes, kind, action, obj.pk):
                raise MissingScope(kind or "", action, one=True)
        return True


def _needed(request: Request, view: APIView) -> tuple[str | None, str]:
    """The kind of thing and the action that a scope has to name."""
    return getattr(view, "scope_object", None), scopes.action_of(request.method or "")
