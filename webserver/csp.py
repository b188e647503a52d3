"""What a browser may do on our pages: load from this server, run no script that is in a page."""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

Answer = Callable[[HttpRequest], HttpResponse]

# `data:` pictures: the page of the API has some in its style sheet.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; connect-src 'self'"
)


def content_security_policy(answer: Answer) -> Answer:
    """Middleware: the policy goes with every answer that has none of its own."""

    def answer_with_policy(request: HttpRequest) -> HttpResponse:
        response = answer(request)
        response.headers.setdefault("Content-Security-Policy", f"{POLICY}{_sockets(request)}")
        # Nothing of ours is the same for everybody unless it says so.
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response

    return answer_with_policy


def _sockets(request: HttpRequest) -> str:
    """Not every browser takes 'self' for a websocket to the same host."""
    try:
        host = request.get_host()
    except DisallowedHost:
        return ""
    return f" ws://{host} wss://{host}"
