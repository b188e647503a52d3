"""Parse and check the credentials in request headers, before the body is read."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Self

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import parse_cookie

from accounts import hotkeys
from accounts.models import ApiKey, SpentSignature, User
from common import error_codes
from common.error_codes import CodedError

NONCE_SECONDS = 600
CHALLENGE = 'Bearer realm="slipway"'

Headers = Mapping[str, Any]
"""Keys are lower-case header names."""


class BadCredentials(CodedError):
    """The credentials are present but wrong. The message is shown to the client."""


@dataclass(frozen=True)
class Signature:
    """A hotkey, a nonce and a signature: well-formed, but not yet verified."""

    hotkey: str
    nonce: str
    signature: bytes

    @classmethod
    def claimed(cls, headers: Headers) -> Self | None:
        """Parse the headers. None without a signature. Raises BadCredentials if malformed or
        expired."""
        hotkey = headers.get("x-chutes-hotkey", "")
        signature = headers.get("x-chutes-signature", "")
        if not (hotkey and signature):
            if (hotkey or signature) and not headers.get("authorization"):
                raise BadCredentials(error_codes.CREDENTIALS_MALFORMED)
            return None
        nonce = headers.get("x-chutes-nonce", "")
        # isdigit accepts superscripts, int does not.
        if not (nonce.isascii() and nonce.isdigit() and len(nonce) < len(hotkey)):
            raise BadCredentials(error_codes.NONCE_INVALID)
        if abs(time.time() - int(nonce)) >= NONCE_SECONDS:
            raise BadCredentials(error_codes.NONCE_INVALID)
        try:
            decoded = bytes.fromhex(signature)
        except ValueError:
            raise BadCredentials(error_codes.SIGNATURE_MALFORMED) from None
        return cls(hotkey, nonce, decoded)

    def check(self, content: str) -> None:
        """Raises BadCredentials unless the hotkey signed `content` under this nonce."""
        message = f"{self.hotkey}:{self.nonce}:{content}"
        if not hotkeys.verify(hotkey=self.hotkey, message=message, signature=self.signature):
            raise BadCredentials(error_codes.SIGNATURE_WRONG, hotkey=self.hotkey[:64])

    def user(self) -> User:
        """The active user of the hotkey. Raises BadCredentials if there is none."""
        user: User | None = User.objects.filter(hotkey=self.hotkey, is_active=True).first()
        if user is None:
            raise BadCredentials(error_codes.HOTKEY_UNKNOWN, hotkey=self.hotkey[:64])
        return user

    def spend(self) -> None:
        """Mark the signature as used. Raises BadCredentials if it was used before."""
        until = datetime.fromtimestamp(int(self.nonce) + NONCE_SECONDS, UTC)
        if not SpentSignature.objects.spend(self.signature, until=until):
            raise BadCredentials(error_codes.SIGNATURE_USED)


def claimed_key(headers: Headers, *, cached: bool = False) -> ApiKey | None:
    """The usable key in `Authorization`, whatever the scheme.

    None without that header. `cached`: see `ApiKeyQuerySet.named_by`. Raises BadCredentials.
    """
    words = headers.get("authorization", "").split()
    if not words:
        return None
    token = words[-1]
    if not token.startswith("cpk_"):
        bearer = words[0].lower() == "bearer"
        raise BadCredentials(
            error_codes.TOKEN_INVALID if bearer else error_codes.CREDENTIALS_MALFORMED
        )
    key = ApiKey.objects.named_by(token, cached=cached)
    if key is None:
        raise BadCredentials(error_codes.KEY_UNKNOWN)
    return key


def session_user(headers: Headers) -> str | None:
    """The id of the user logged in to the session of the cookie, or None."""
    cookie = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if not cookie:
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore
    found: str | None = store(cookie).get(SESSION_KEY)
    return found


def known_caller(headers: Headers) -> str | None:
    """Same as `check_headers`, but only for cached keys and without a query. Otherwise None."""
    if headers.get("x-chutes-signature") or headers.get("x-chutes-hotkey"):
        return None
    words = headers.get("authorization", "").split()
    key = ApiKey.objects.remembered(words[-1]) if words else None
    return f"user:{key.user_id}" if key else None


def check_headers(headers: Headers) -> str:
    """Identify the sender of a body, as a string for the upload limits. Does not spend the
    signature.

    Raises BadCredentials if the credentials are wrong whatever the body is. A signature covers the
    body, so until that has arrived the user is only claimed. Claimed users are counted separately,
    so that nobody can use up another user's limits.
    """
    signature = Signature.claimed(headers)
    if signature is not None:
        return f"claimed:{signature.user().pk}"
    key = claimed_key(headers, cached=True)
    if key is not None:
        return f"user:{key.user_id}"
    session = session_user(headers)
    if session is None:
        raise BadCredentials(error_codes.CREDENTIALS_MISSING)
    return f"user:{session}"
