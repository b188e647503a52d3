"""Registry tokens (distribution token protocol) and their signing key.

Key and certificate are derived from the deployment's secret and are identical in every process, so
there is no further secret to store.
"""

import base64
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import Any
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.repository_grammar import REPOSITORY

SERVICE = ISSUER = "slipway"
CREDENTIAL = "slipway-credential"
"""Audience of credentials for our own token endpoint, so that they are not valid as tokens."""
PULL = "pull"
WORKER = "worker"
"""Subject of workers: the only one that may push and delete."""
TOKEN_SECONDS = 60
"""Lifetime in seconds. Clients assume at least this."""
LEEWAY_SECONDS = 60
"""Clock difference in seconds that registries tolerate."""

_ALGORITHM = "ES256"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of the curve P-256."""
_SINCE, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)

_SCOPE = re.compile(
    rf"(?P<kind>[a-z]+(?:\([a-z]+\))?):(?P<name>{REPOSITORY.pattern}):"
    r"(?P<actions>(?:[a-z]+|\*)(?:,(?:[a-z]+|\*))*)?"
)

Access = Mapping[str, Iterable[str]]
"""Actions by repository."""


class BadScope(ValueError):
    """The text is not a scope such as `repository:<name>:<actions>`."""


def read_scopes(text: str) -> dict[str, set[str]]:
    """Parse scopes to actions by repository. Other kinds of scopes are ignored. Raises BadScope."""
    wanted: dict[str, set[str]] = {}
    for scope in text.split():
        found = _SCOPE.fullmatch(scope)
        if found is None:
            raise BadScope(f"{scope[:200]!r} is not a scope such as repository:owner/name:pull")
        if found["kind"] == "repository":
            wanted.setdefault(found["name"], set()).update((found["actions"] or "").split(","))
    return wanted


@dataclass(frozen=True)
class Signer:
    """Creates and verifies the tokens of one deployment."""

    secret: str = field(repr=False)
    realm: str
    """URL of the token endpoint."""

    def token(self, subject: str, access: Access, *, seconds: int = TOKEN_SECONDS) -> str:
        """A token for the registry, valid for `seconds`. Repositories without actions are left
        out."""
        granted = [
            {"type": "repository", "name": name, "actions": sorted(actions)}
            for name, actions in access.items()
            if actions
        ]
        return self._sign(subject, SERVICE, seconds, access=granted)

    def credential(self, subject: str, *, seconds: int) -> str:
        """A password for our token endpoint, for a worker or a build of some owner.

        Workers sign tokens themselves; workers of version 0.1 request them with this.
        """
        return self._sign(subject, CREDENTIAL, seconds)

    def subject_of(self, token: str) -> str | None:
        """The subject of a token; None if it is not ours or not valid any more."""
        return self._read(token, SERVICE)

    def named_by(self, credential: str) -> str | None:
        """The subject of a credential; None if it is not ours or not valid any more."""
        return self._read(credential, CREDENTIAL)

    @cached_property
    def certificate(self) -> str:
        """The certificate that a registry must trust, as PEM (`rootcertbundle`)."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    @cached_property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        derived = HKDF(SHA256(), length=48, salt=None, info=b"slipway registry tokens")
        number = int.from_bytes(derived.derive(self.secret.encode()))
        return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())

    @cached_property
    def _certificate(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        unsigned = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=self._key.public_key(),
            serial_number=1,
            not_valid_before=_SINCE,
            not_valid_after=_UNTIL,
        )
        return unsigned.sign(self._key, SHA256(), ecdsa_deterministic=True)

    def _sign(self, subject: str, audience: str, seconds: int, **more: Any) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {"iss": ISSUER, "sub": subject, "aud": audience, **more}
        claims |= {"iat": now, "nbf": now, "exp": now + seconds, "jti": uuid4().hex}
        chain = [base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()]
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"x5c": chain})

    def _read(self, text: str, audience: str) -> str | None:
        try:
            claims = jwt.decode(
                text,
                self._key.public_key(),
                algorithms=[_ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "sub"]},
            )
        except jwt.InvalidTokenError:
            return None
        subject: str = claims["sub"]
        return subject


@cache
def signer(secret: str, realm: str) -> Signer:
    """Cached, since deriving the key takes time."""
    return Signer(secret, realm)
