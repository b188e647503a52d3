"""What a request's headers claim, and whether it may be true: asked before its body is read."""

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
"""By lower-case name."""


class BadCredentials(CodedError):
    """Something was given, and it is wrong. The text is for whoever sent it."""


@dataclass(frozen=True)
class Signature:
    """A hotkey, a nonce and what the one made of the other: well-formed, and nothing more yet."""

    hotkey: str
    nonce: str
    signature: bytes

    @classmethod
    def claimed(cls, headers: Headers) -> Self | None:
        """None without one. Raises BadCredentials for what cannot be right whatever was signed."""
        hotkey = headers.get("x-chutes-hotkey", "")
        signature = headers.get("x-chutes-signature", "")
        if not (hotkey and signature):
            if (hotkey or signature) and not headers.get("authorization"):
                raise BadCredentials(error_codes.CREDENTIALS_MALFORMED)
            return None
        nonce = headers.get("x-chutes-nonce", "")
        # Superscripts are digits to isdigit, and no number to int.
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
        """Raises BadCredentials where there is none."""
        user: User | None = User.objects.filter(hotkey=self.hotkey, is_active=True).first()
        if user is None:
            raise BadCredentials(error_codes.HOTKEY_UNKNOWN, hotkey=self.hotkey[:64])
        return user

    def spend(self) -> None:
        """Uses it up. Raises BadCredentials when it was used before."""
        until = datetime.fromtimestamp(int(self.nonce) + NONCE_SECONDS, UTC)
        if not SpentSignature.objects.spend(self.signature, until=until):
            raise BadCredentials(error_codes.SIGNATURE_USED)


def claimed_key(headers: Headers, *, cached: bool = False) -> ApiKey | None:
    """The usable key named by `Authorization`, under any scheme or none.

    None without that header. `cached` as in `ApiKeyQuerySet.named_by`. Raises BadCredentials.
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
    """The id of whoever logged in to the session that the cookies name."""
    cookie = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if not cookie:
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore
    found: str | None = store(cookie).get(SESSION_KEY)
    return found


def known_caller(headers: Headers) -> str | None:
    """As `check_headers` for a key that was found a moment ago. None for everything else."""
    if headers.get("x-chutes-signature") or headers.get("x-chutes-hotkey"):
        return None
    words = headers.get("authorization", "").split()
    key = ApiKey.objects.remembered(words[-1]) if words else None
    return f"user:{key.user_id}" if key else None


def check_headers(headers: Headers) -> str:
    """Who sends a body, in a word for their account. It uses nothing up.

    Raises BadCredentials for what no body could make right. A signature is of the body, so who
    signs is only claimed: others may name the same hotkey, and have an account apart for it.
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
