"""Addresses that a build may never reach, and the device that its network needs."""

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

TUN = Path("/dev/net/tun")
PRIVATE = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def own_addresses(fib_trie: Path = Path("/proc/net/fib_trie")) -> list[str]:
    """Every IPv4 address of this host outside its loopback."""
    found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", fib_trie.read_text())
    return sorted({a for a in found if ipaddress.IPv4Address(a) not in LOOPBACK})


def denied(more: Iterable[str]) -> list[str]:
    """The IPv4 networks to block for a build: private ones, this host's addresses, and `more`.

    The host's addresses are read on every call, because they change. Loopback is not included: in
    a sandbox it is the sandbox's own.
    """
    closed = [n for n in PRIVATE if ipaddress.IPv4Network(n) != LOOPBACK]
    closed += [f"{address}/32" for address in own_addresses()]
    closed += [str(ipaddress.IPv4Network(network, strict=False)) for network in more]
    return list(dict.fromkeys(closed))
