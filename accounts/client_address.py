"""The client address of a request."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

NETWORK_BITS = 64
"""Prefix length of the IPv6 network that counts as one client: a client usually has a whole /64."""


def client_address(request: HttpRequest) -> str:
    """An IPv4 address, or the /64 network of an IPv6 one. Empty without a network address.

    Behind a trusted proxy, the last entry of `X-Forwarded-For` is the address that the proxy saw.
    Earlier entries are set by the client.
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
