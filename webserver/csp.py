"""Content security policy: pages load only from this server and run no inline scripts."""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

Answer = Callable[[HttpRequest], HttpResponse]

# `data:` images: the style sheet of the API's documentation page has some.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; connect-src 'self'"
)


def content_security_policy(answer: Answer) -> Answer:
    """Middleware: adds the policy to every response that does not set one."""

    def answer_with_policy(request: HttpRequest) -> HttpResponse:
        response = answer(request)
        response.headers.setdefault("Content-Security-Policy", f"{POLICY}{_sockets(request)}")
        # Responses may depend on the user, unless they set their own Cache-Control.
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response

    return answer_with_policy


def _sockets(request: HttpRequest) -> str:
    """Allow websockets to this host explicitly: not all browsers include them in 'self'."""
    try:
        host = request.get_host()
    except DisallowedHost:
        return ""
    return f" ws://{host} wss://{host}"
