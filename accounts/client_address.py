"""Which address a request comes from, as far as it can be known."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

NETWORK_BITS = 64
"""Of an IPv6 address: who has one has the network."""


def client_address(request: HttpRequest) -> str:
    """An IPv4 address, or the network of an IPv6 one. Empty where it comes from no network.

    Behind a trusted front the last entry of `X-Forwarded-For` is what that front saw; those before
    it are what the client says.
    """
    told = str(request.META.get("REMOTE_ADDR") or "")
    if settings.TRUSTED_PROXY:
        told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or told
    try:
        address = ipaddress.ip_address(told.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, NETWORK_BITS), strict=False))
        address = address.ipv4_mapped
    return str(address)
