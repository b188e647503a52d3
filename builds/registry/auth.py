"""Credentials for registries, and responses to their authentication challenges."""

import base64
import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from builds.registry.tokens import (
    PULL,
    TOKEN_SECONDS,
    Access,
    BadScope,
    Signer,
    read_scopes,
)

_CHALLENGE = re.compile(r"\s*(\w+)(?:\s+(.*))?", re.DOTALL)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')


class RegistryError(Exception):
    """A registry did not do what it was asked. The message is one sentence."""

    def __init__(self, text: str, *, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        """HTTP status of its response; None without one."""


class AuthFileError(RegistryError):
    """The file with credentials is unusable. The message gives the reason, but none of the
    content."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password for one registry."""

    username: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def read_credentials(file: Path | None) -> dict[str, Credentials]:
    """Read credentials by host from a file of `docker login`. Credential helpers are not supported.

    Raises AuthFileError.
    """
    if file is None:
        return {}
    try:
        entries = json.loads(file.read_text())["auths"]
        return {_host(name): _pair(entry) for name, entry in entries.items() if entry}
    except OSError as error:
        raise AuthFileError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AuthFileError(f"{file} is not a file as `docker login` writes it") from error


def _host(name: str) -> str:
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _pair(entry: Mapping[str, str]) -> Credentials:
    if "username" in entry:
        return Credentials(entry["username"], entry["password"])
    name, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    if not colon:
        raise ValueError("auth is not name:password")
    return Credentials(name, password)


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity with which Slipway accesses a registry that trusts its tokens.

    It signs tokens itself, so no web process is needed.
    """

    signer: Signer
    subject: str
    may_pull: Callable[[str], bool] | None = None
    """Whether it may pull from a repository, and do nothing else. None means full access."""

    def token(self, wanted: Access, *, seconds: int = TOKEN_SECONDS) -> str:
        """A token for those wanted actions that the identity is allowed; valid for `seconds`."""
        if self.may_pull is not None:
            names = [name for name, actions in wanted.items() if PULL in actions]
            wanted = {name: [PULL] for name in names if self.may_pull(name)}
        return self.signer.token(self.subject, wanted, seconds=seconds)

    def is_asked_by(self, response: httpx.Response) -> bool:
        """Whether the registry's challenge asks for tokens of Slipway."""
        scheme, parameters = _challenge(response.headers.get("www-authenticate", ""))
        return scheme == "bearer" and parameters.get("realm") == self.signer.realm


class RegistryAuth(httpx.Auth):
    """Sends a request without credentials, then again with those that the challenge asks for:
    basic, or a token from the challenge's realm.

    A registry that trusts Slipway's tokens never gets other credentials: `identity` signs a token.

    An instance from `to_push` requests all rights of a push at once and reuses the credentials.
    """

    requires_response_body = True

    def __init__(
        self,
        credentials: Credentials | None,
        identity: Identity | None = None,
        *,
        scope: str = "",
    ) -> None:
        self._credentials = credentials
        self._identity = identity
        self._scope = scope
        self._remembered = ""
        self.met_our_realm = False
        """Whether the registry's last challenge asked for tokens of Slipway."""

    def to_push(self, repository: str) -> "RegistryAuth":
        """An instance for requests to this repository only."""
        scope = f"repository:{repository}:pull,push"
        return RegistryAuth(self._credentials, self._identity, scope=scope)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._remembered:
            request.headers["Authorization"] = self._remembered
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        scheme, parameters = _challenge(response.headers.get("www-authenticate", ""))
        if self._scope and "scope" in parameters:
            parameters["scope"] = self._scope
        ours = self._identity if self._identity and self._identity.is_asked_by(response) else None
        self.met_our_realm = ours is not None
        if ours:
            try:
                access = read_scopes(parameters.get("scope", ""))
            except BadScope:
                return
            request.headers["Authorization"] = f"Bearer {ours.token(access)}"
        elif scheme == "basic" and self._credentials:
            request.headers["Authorization"] = self._credentials.header
        elif scheme == "bearer" and "realm" in parameters:
            answer = yield self._token_request(request, parameters, self._credentials)
            token = _token(answer)
            if token is None:
                return
            request.headers["Authorization"] = f"Bearer {token}"
        else:
            return
        if self._scope:
            self._remembered = request.headers["Authorization"]
        yield request

    def _token_request(
        self,
        request: httpx.Request,
        parameters: Mapping[str, str],
        credentials: Credentials | None,
    ) -> httpx.Request:
        wanted = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        asking = httpx.Request("GET", httpx.URL(parameters["realm"]).copy_merge_params(wanted))
        # A password that was sent encrypted is not sent in plain text to the realm.
        if credentials and (asking.url.scheme == "https" or request.url.scheme == "http"):
            asking.headers["Authorization"] = credentials.header
        return asking


def _challenge(header: str) -> tuple[str, dict[str, str]]:
    found = _CHALLENGE.match(header)
    if found is None:
        return "", {}
    parameters = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
        for name, quoted, plain in _PARAMETER.findall(found[2] or "")
    }
    return found[1].lower(), parameters


def _token(answer: httpx.Response) -> str | None:
    try:
        said = answer.json() if answer.is_success else {}
        token = said.get("token") or said.get("access_token")
    except (ValueError, AttributeError):
        return None
    return token if isinstance(token, str) else None
