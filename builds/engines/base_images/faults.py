"""Error messages for base images that could not be fetched.

skopeo's messages contain text from servers, so they are never shown. They are only classified by
the reasons below.
"""

import re
from collections.abc import Callable

from builds.engines.base_images.addresses import Endpoint
from builds.engines.base_images.manifest import NotUsable, megabytes
from builds.engines.base_images.sandbox import Fetched

SHOWN_HOST = re.compile(r"[A-Za-z0-9.:-]{1,100}", re.ASCII)
LOOPBACK_DIAL = re.compile(r"dial tcp (?:127\.|\[::1\])[^ ]*: connect: connection refused")
STATUS = re.compile(
    r"(?:StatusCode:|status(?: code)?(?: from [^ ]{1,300})?:?|HTTP status:) ([1-5][0-9]{2})\b"
)
MIRRORS_FAILED = "Mirrors also failed: "
SERVER_ERROR = 500


class Away(Exception):
    """The registry is unreachable or refuses for now. The text follows the image's name.

    `retry` says whether the same request may be sent again at once.
    """

    def __init__(self, text: str, *, retry: bool = True) -> None:
        super().__init__(text)
        self.retry = retry


INSECURE_HINT = "an operator can allow that with SLIPWAY_INSECURE_REGISTRIES"
REASONS: tuple[tuple[set[int], tuple[str, ...], Callable[[], NotUsable | Away]], ...] = (
    (
        {429},
        ("toomanyrequests", "too many requests"),
        lambda: Away("could not be pulled: its registry wants fewer requests for now", retry=False),
    ),
    (
        {404},
        ("manifest unknown", "name unknown", "not found"),
        lambda: NotUsable("does not exist"),
    ),
    (
        {401, 403},
        ("unauthorized", "authentication required", "denied"),
        lambda: NotUsable("does not exist, or its registry wants credentials"),
    ),
    (
        set(),
        (
            "server gave http response to https client",
            "first record does not look like a tls handshake",
        ),
        lambda: NotUsable(f"could not be pulled: its registry speaks no TLS; {INSECURE_HINT}"),
    ),
    (
        set(),
        ("x509:", "tls:", "certificate"),
        lambda: NotUsable(
            f"could not be pulled: its registry's certificate is not trusted; {INSECURE_HINT}"
        ),
    ),
)


def fault(fetched: Fetched, *, timeout_seconds: float, max_bytes: int) -> NotUsable | Away:
    """Classify a failed run of skopeo."""
    traffic = fetched.traffic
    if traffic.exceeded:
        return NotUsable(
            f"was ended: its registry sent more than {megabytes(max_bytes)}, which is more than "
            "it said or may"
        )
    if fetched.flooded:
        return NotUsable("is not an image: its manifest or configuration is too large")
    if fetched.timed_out:
        return Away(f"could not be pulled within {timeout_seconds:g} seconds", retry=False)
    if traffic.refused:
        return _private(_shown(traffic.refused[0]))
    message = _own_message(fetched.errors)
    if LOOPBACK_DIAL.search(message):
        return _private("a loopback address")
    return _by_message(message) or _by_traffic(fetched)


def _private(place: str) -> NotUsable:
    return NotUsable(
        f"leads to a private address ({place}), which is not allowed here; an operator can allow a "
        "registry with SLIPWAY_PRIVATE_REGISTRIES"
    )


def _own_message(errors: str) -> str:
    """skopeo's last message, without its part about mirrors."""
    lines = errors.strip().splitlines()
    message = lines[-1] if lines else ""
    return message.rpartition("]): ")[2] if MIRRORS_FAILED in message else message


def _by_message(message: str) -> NotUsable | Away | None:
    text = message.lower()
    match = STATUS.search(message)
    status = int(match[1]) if match else 0
    for statuses, parts, problem in REASONS:
        if status in statuses or any(part in text for part in parts):
            return problem()
    if status >= SERVER_ERROR:
        return Away(f"could not be pulled: its registry answered with status {status}")
    if status:
        return NotUsable(f"could not be pulled: its registry answered with status {status}")
    if "digest" in text and "match" in text:
        return NotUsable("is damaged: its registry sent something else than it named")
    return None


def _by_traffic(fetched: Fetched) -> NotUsable | Away:
    traffic = fetched.traffic
    if traffic.unknown:
        return Away(f"could not be pulled: {_shown(traffic.unknown[0])} cannot be found")
    for places in (traffic.unreachable, traffic.silent):
        if places:
            return Away(f"could not be pulled: {_shown(places[0])} does not answer")
    if any(word in fetched.errors for word in ("EOF", "reset", "timeout", "broken pipe")):
        return Away("could not be pulled: its registry cut the connection")
    return NotUsable("could not be pulled: its registry did not answer as registries do")


def _shown(place: Endpoint) -> str:
    host, port = place
    return f"{host}:{port}" if SHOWN_HOST.fullmatch(host) else "a host without a proper name"
