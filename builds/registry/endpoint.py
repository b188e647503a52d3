"""Address of a registry, and its error messages."""

import ssl
from dataclasses import dataclass
from functools import cache

import httpx

TIMEOUT_SECONDS = 10.0
TRANSIENT = {429, 500, 502, 503, 504}
"""HTTP statuses after which the same request may succeed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of one registry."""

    host: str
    """`host` or `host:port`."""
    insecure: bool
    """Use plain HTTP."""

    def url(self, path: str) -> str:
        return f"{'http' if self.insecure else 'https'}://{self.host}{path}"

    def unreachable(self, error: Exception) -> str:
        """Error message for a failed connection."""
        return (
            f"the registry at {self.host} cannot be reached: {str(error) or type(error).__name__}"
        )

    def refusal(self, answer: httpx.Response, what: str) -> str:
        """Error message for an unexpected response; `what` completes "when asked"."""
        status = answer.status_code
        return f"the registry at {self.host} answered {status} when asked {what}{_detail(answer)}"


@cache
def tls() -> ssl.SSLContext:
    """TLS context with the machine's certificate authorities."""
    return ssl.create_default_context()


def _detail(answer: httpx.Response) -> str:
    try:
        return f": {answer.json()['errors'][0]['message']}"
    except (ValueError, LookupError, TypeError):
        # A response to HEAD has no body.
        return {401: ": authentication required", 403: ": access denied"}.get(
            answer.status_code, ""
        )
