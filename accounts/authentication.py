"""Authentication and permission of API requests: signatures, API keys, sessions, scopes.

A view sets these attributes:

* `signature_purpose`: the text that a hotkey signs in requests without a body;
* `scope_object`: the kind of object that scopes of API keys name, such as "images";
* `any_key`: accept every API key, whatever its scopes;
* `anonymous_allowed`: require no credentials. Wrong credentials are still refused.
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
    """401 for an action outside the key's scopes: the reference server never returns 403."""

    def __init__(self, kind: str, action: str, *, one: bool = False) -> None:
        problem = error_codes.INSUFFICIENT_SCOPE
        scope = f"{kind}:{action}" if kind else scopes.ALL
        named = f"{scope} for this one" if one else scope
        super().__init__(problem.text.format(scope=named), problem.code)
        challenge = f'{CHALLENGE}, error="{problem.code}", scope="{scope}"'
        self.headers = {"WWW-Authenticate": challenge}


def body_digest(request: Request) -> str:
    """SHA-256 of the body as it was sent, in lower-case hex.

    Under a web server other than ours, Django's limit for bodies in memory applies.
    """
    body = request.META.get("slipway.body")
    digest: str = body.sha256() if body is not None else hashlib.sha256(request.body).hexdigest()
    return digest


class HotkeyAuthentication(BaseAuthentication):
    """Authenticates a signature of `hotkey:nonce:<content>`.

    The content is `signature_purpose` for methods without a body (GET, HEAD, OPTIONS, DELETE), else
    the digest of the body, or method and path if the body is empty: `POST
    /images/owner/app:1/cancel`.
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
                    return None  # as the reference server: an unknown hotkey is anonymous
                raise
            signature.spend()
        except BadCredentials as problem:
            raise AuthenticationFailed(str(problem), problem.error_code.code) from problem
        return user, None

    def content(self, request: Request, view: Any) -> str:
        if request.method not in BODILESS:
            digest = body_digest(request)
            if digest == EMPTY:
                # The digest of an empty body would be valid for every path. Clients of the
                # reference server send no such request.
                return f"{request.method} {request.path}"
            return digest
        purpose: str | None = getattr(view, "signature_purpose", None)
        if purpose is None:
            raise BadCredentials(error_codes.CREDENTIALS_MALFORMED)
        return purpose

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class KeyAuthentication(BaseAuthentication):
    """Authenticates an API key, which becomes `request.auth`."""

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
    """Allows users, API keys within their scopes, and anonymous callers if the view allows them.

    A key for single objects passes if the path names one. The view must then call
    `check_object_permissions` with the object.
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
    """The kind of object and the action that a scope must name."""
    return getattr(view, "scope_object", None), scopes.action_of(request.method or "")
