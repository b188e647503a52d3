"""Where a registry is, how it is spoken to, and how its refusals are worded."""

import ssl
from dataclasses import dataclass
from functools import cache

import httpx

TIMEOUT_SECONDS = 10.0
TRANSIENT = {429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One registry."""

    host: str
    """`host` or `host:port`."""
    insecure: bool
    """Plain HTTP."""

    def url(self, path: str) -> str:
        return f"{'http' if self.insecure else 'https'}://{self.host}{path}"

    def unreachable(self, error: Exception) -> str:
        return (
            f"the registry at {self.host} cannot be reached: {str(error) or type(error).__name__}"
        )

    def refusal(self, answer: httpx.Response, what: str) -> str:
        """What the registry answered when it was asked `what`."""
        status = answer.status_code
        return f"the registry at {self.host} answered {status} when asked {what}{_detail(answer)}"


@cache
def tls() -> ssl.SSLContext:
    """The machine's own certificates count."""
    return ssl.create_default_context()


def _detail(answer: httpx.Response) -> str:
    try:
        return f": {answer.json()['errors'][0]['message']}"
    except (ValueError, LookupError, TypeError):
        # The answer to a HEAD has no body.
        return {401: ": authentication required", 403: ": access denied"}.get(
            answer.status_code, ""
        )
