"""What is said and counted of every request: its id, its route, how it went, how long it took."""

import re
from collections.abc import Callable
from time import perf_counter
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.http import http_date
from prometheus_client import Counter, Histogram

from observability.logs import REQUEST_ID

Answer = Callable[[HttpRequest], HttpResponse]
TAKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
REQUESTS = Counter(
    "slipway_http_requests", "Requests that this process answered.", ["route", "method", "status"]
)
SECONDS = Histogram(
    "slipway_http_request_duration_seconds",
    "Until the answer began; a stream goes on.",
    ["route", "method"],
)


def observe(answer: Answer) -> Answer:
    """Middleware, the outermost: X-Request-Id in and out, and in every record that is logged."""

    def answer_observed(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        identity = given if TAKEN.fullmatch(given) else uuid4().hex
        # Never taken back: what a stream logs later is of this request too, and each has a
        # context of its own.
        REQUEST_ID.set(identity)
        began = perf_counter()
        response = answer(request)
        response.headers["X-Request-Id"] = identity
        response.headers.setdefault("Date", http_date())
        method = _method(request.method or "")
        route = request.resolver_match.route if request.resolver_match else "none"
        REQUESTS.labels(route, method, response.status_code).inc()
        SECONDS.labels(route, method).observe(perf_counter() - began)
        return response

    return answer_observed


def accept_probes(answer: Answer) -> Answer:
    """Middleware: probes come by addresses of machines, and nothing that they get names a host."""

    def answer_probe(request: HttpRequest) -> HttpResponse:
        if request.path_info in settings.PROBES:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[-1]
        return answer(request)

    return answer_probe


def count_refused(method: str, status: int) -> None:
    """A request that was answered before it had a route."""
    REQUESTS.labels("refused", _method(method), int(status)).inc()


def _method(name: str) -> str:
    """One of few: whoever asks may call it anything."""
    return name if name in METHODS else "other"
