"""Routes of a sandbox: the internet through slirp4netns, all private networks blocked."""

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

TUN = Path("/dev/net/tun")
PRIVATE = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
SLIRP = ipaddress.IPv4Network("10.0.2.0/24")
NAMESERVER = "10.0.2.3"

OFFLINE = "link set lo up\n"
DEVICE = (
    "link set lo up",
    "link set tap0 mtu 65520 up",
    "addr add 10.0.2.100/24 dev tap0",
    # The default route first: the kernel refuses a gateway in a blocked network.
    "route add default via 10.0.2.2",
    f"route add {NAMESERVER}/32 dev tap0",
    # Of slirp4netns's own network, only the name server is reachable.
    "route add blackhole 10.0.2.0/25",
    "route add blackhole 10.0.2.128/25",
)


def own_addresses(fib_trie: Path = Path("/proc/net/fib_trie")) -> list[str]:
    """Every IPv4 address of this host outside its loopback."""
    found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", fib_trie.read_text())
    return sorted({a for a in found if ipaddress.IPv4Address(a) not in LOOPBACK})


def closed(deny: Iterable[str], own: Iterable[str]) -> list[str]:
    """IPv4 networks to block. Loopback is the sandbox's own, and the sandbox has no IPv6."""
    networks = [ipaddress.ip_network(network) for network in (*PRIVATE, *own, *deny)]
    return list(
        dict.fromkeys(
            str(network)
            for network in networks
            if isinstance(network, ipaddress.IPv4Network)
            and not network.subnet_of(SLIRP)
            and not network.subnet_of(LOOPBACK)
        )
    )


def batch(networks: Iterable[str]) -> str:
    """Input of `ip -batch` for a sandbox in which `networks` are blocked."""
    return "\n".join([*DEVICE, *(f"route add blackhole {network}" for network in networks), ""])
