"""Which addresses a fetch of a base image may connect to: global ones, and configured registries.

The check is made on the address itself, at the moment of connecting. Host names, and what they
resolved to earlier, are not trusted.
"""

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path

from builds.engines.sandbox.networks import PRIVATE, own_addresses

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Endpoint = tuple[str, int]
Resolve = Callable[[str, int], list[str]]

MAX_ADDRESSES = 8
GLOBAL_UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
# Not on the internet, although the standard library or an address registry says so: protocol
# assignments, 6to4 relays, local NAT64, and the address of Azure's metadata service.
SPECIAL = ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "168.63.129.16/32")
HOST_PORT = re.compile(r"(?P<host>[^:/\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
WEB_PORTS = (443, 80)


class AddressRefused(Exception):
    """No address of the name may be connected to."""


class NameUnknown(Exception):
    """The name has no address."""


def endpoints(registry: str) -> frozenset[Endpoint]:
    """The endpoints of `host[:port]`: that port, or 443 and 80. Empty if it is malformed."""
    match = HOST_PORT.fullmatch(registry)
    if match is None:
        return frozenset()
    host = plain_host(match["host"])
    ports = (int(match["port"]),) if match["port"] else WEB_PORTS
    return frozenset((host, port) for port in ports)


def plain_host(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine resolves it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The addresses that one fetch may connect to."""

    configured: frozenset[Endpoint] = frozenset()
    """Hosts and ports that the operator configured: they may have any address."""
    denied: tuple[Network, ...] = ()
    """Networks refused to all other hosts, in addition to all that are not global."""
    resolve: Resolve = field(default=resolve)

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses to try. Raises AddressRefused or NameUnknown."""
        host = plain_host(host)
        found = self.resolve(host, port)[:MAX_ADDRESSES]
        if not found:
            raise NameUnknown(host)
        if (host, port) in self.configured:
            return found
        allowed = [each for each in found if self._is_open(each)]
        if not allowed:
            raise AddressRefused(host)
        return allowed

    def _is_open(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return all(
            _is_global(each) and not any(each in network for network in self.denied)
            for each in (address, *_embedded(address))
        )


def current_policy(
    configured: Iterable[Endpoint] = (), deny: Iterable[str] = (), *, resolve: Resolve = resolve
) -> AddressPolicy:
    """A policy that denies this machine's current addresses. Make a new one for each fetch."""
    networks = [*PRIVATE, *SPECIAL, *deny, *own_addresses(), *own_ipv6_addresses()]
    return AddressPolicy(
        frozenset(configured),
        tuple(ip_network(network, strict=False) for network in networks),
        resolve,
    )


def own_ipv6_addresses(if_inet6: Path = Path("/proc/net/if_inet6")) -> list[str]:
    """Every IPv6 address of this host. Empty without IPv6."""
    if not if_inet6.exists():
        return []
    numbers = [line.split()[0] for line in if_inet6.read_text().splitlines()]
    return [str(IPv6Address(int(number, 16))) for number in numbers]


def _is_global(address: Address) -> bool:
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        return False
    if isinstance(address, IPv4Address):
        return address.is_global
    if address.ipv4_mapped is not None or address in NAT64:
        # `_embedded` returns the IPv4 address inside, which is checked too.
        return True
    return address.is_global and address in GLOBAL_UNICAST


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that packets to an IPv6 address may be forwarded to."""
    if isinstance(address, IPv4Address):
        return []
    found: list[Address] = []
    if address.ipv4_mapped is not None:
        found.append(address.ipv4_mapped)
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    if address in NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
