"""Models of users, API keys, used signatures and sign-in attempts."""

from accounts.models.keys import LABEL_CHARACTERS, ApiKey, ApiKeyQuerySet, digest, validate_scopes
from accounts.models.sign_in_attempts import SignInAttempt, TooManyAttempts
from accounts.models.signatures import SpentSignature
from accounts.models.users import User, UsersStay, validate_hotkey

__all__ = [
    "LABEL_CHARACTERS",
    "ApiKey",
    "ApiKeyQuerySet",
    "SignInAttempt",
    "SpentSignature",
    "TooManyAttempts",
    "User",
    "UsersStay",
    "digest",
    "validate_hotkey",
    "validate_scopes",
]
