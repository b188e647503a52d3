"""Checks URLs of webhooks. Their IP addresses are checked when something is sent."""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings

from builds.engines.base_images.addresses import (
    AddressPolicy,
    AddressRefused,
    NameUnknown,
    current_policy,
    endpoints,
)

URL_CHARACTERS = 2_048
PORTS = {"http": 80, "https": 443}
MOST_PORT = 65_535


class BadUrl(ValueError):
    """Nothing can be sent to this URL. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request is sent."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query string."""

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """Raises BadUrl."""
    if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise BadUrl(f"takes at most {URL_CHARACTERS} printable ASCII characters without blanks")
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").rstrip(".")
    except ValueError as problem:
        raise BadUrl(f"is no URL: {problem}") from problem
    if parts.scheme not in PORTS or not host:
        raise BadUrl("takes an address such as https://example.com/hooks")
    if parts.username is not None or parts.password is not None:
        raise BadUrl("takes no user name or password: use the signature")
    if parts.fragment or "\\" in url or any(each in host for each in "%/?#@"):
        raise BadUrl("takes an address without a fragment, a backslash or an escaped host")
    if port == 0:
        raise BadUrl(f"takes a port from 1 to {MOST_PORT}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port or PORTS[parts.scheme], path=path)


def check_url(url: str) -> None:
    """Raises BadUrl. Does not resolve the name, because its name server may be slow."""
    target = parse_url(url)
    try:
        ip_address(target.host)
    except ValueError:
        return
    open_addresses(target)


def open_addresses(target: Target) -> list[str]:
    """The IP addresses to try, by the same rules as for builds. Raises BadUrl.

    The error is the same for names without an address and names with a private one, so that it does
    not reveal which names exist in this network.
    """
    try:
        return policy().addresses(target.host, target.port)
    except (AddressRefused, NameUnknown) as problem:
        raise BadUrl(f"{target.host} has no address that webhooks are sent to") from problem


def policy() -> AddressPolicy:
    configured = (each for host in settings.WEBHOOK_HOSTS for each in endpoints(host))
    return current_policy(configured)
