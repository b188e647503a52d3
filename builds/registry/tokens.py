"""Tokens for a registry that trusts Slipway (the distribution token protocol), and their key.

The key is derived from the deployment's secret, and so is its certificate to the last bit: every
process of a deployment signs with the same one, and there is no further secret to keep.
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
"""The audience of what is shown to our realm: no registry takes it, and no token is one."""
PULL = "pull"
WORKER = "worker"
"""The subject that pushes and deletes. Nobody else does."""
TOKEN_SECONDS = 60
"""What clients take for the least, whatever they are told."""
LEEWAY_SECONDS = 60
"""What registries allow for clocks that differ."""

_ALGORITHM = "ES256"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256."""
_SINCE, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)

_SCOPE = re.compile(
    rf"(?P<kind>[a-z]+(?:\([a-z]+\))?):(?P<name>{REPOSITORY.pattern}):"
    r"(?P<actions>(?:[a-z]+|\*)(?:,(?:[a-z]+|\*))*)?"
)

Access = Mapping[str, Iterable[str]]
"""Actions by repository."""


class BadScope(ValueError):
    """The text is not `repository:<name>:<actions>` nor anything of that shape."""


def read_scopes(text: str) -> dict[str, set[str]]:
    """The actions asked for, by repository. Scopes of other kinds are nothing we could grant."""
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
    """Makes tokens and reads them back, for one deployment."""

    secret: str = field(repr=False)
    realm: str
    """The address that hands out tokens."""

    def token(self, subject: str, access: Access, *, seconds: int = TOKEN_SECONDS) -> str:
        """What a registry is shown."""
        granted = [
            {"type": "repository", "name": name, "actions": sorted(actions)}
            for name, actions in access.items()
            if actions
        ]
        return self._sign(subject, SERVICE, seconds, access=granted)

    def credential(self, subject: str, *, seconds: int) -> str:
        """What our own realm takes as the password of a worker, or of a build of some owner.

        Workers sign tokens themselves; those of version 0.1 asked the realm for them.
        """
        return self._sign(subject, CREDENTIAL, seconds)

    def subject_of(self, token: str) -> str | None:
        """For whom a token is, None where it is not one of ours or not valid any more."""
        return self._read(token, SERVICE)

    def named_by(self, credential: str) -> str | None:
        """For whom a credential is, likewise."""
        return self._read(credential, CREDENTIAL)

    @cached_property
    def certificate(self) -> str:
        """What a registry has to trust, as PEM: `rootcertbundle`."""
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
    """One for each deployment, as its key takes a moment to derive."""
    return Signer(secret, realm)
