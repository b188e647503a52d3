"""Request ids, and metrics of requests: route, method, status, duration."""

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
    """Outermost middleware: takes or creates X-Request-Id, returns it, and adds it to log records.

    It also counts the request and measures the time until its response.
    """

    def answer_observed(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        identity = given if TAKEN.fullmatch(given) else uuid4().hex
        # Never reset: a stream may log later for this request, and each request has its own
        # context.
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
    """Middleware: accepts any Host header for probes, which use addresses instead of names.

    This is safe because their responses do not contain the host.
    """

    def answer_probe(request: HttpRequest) -> HttpResponse:
        if request.path_info in settings.PROBES:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[-1]
        return answer(request)

    return answer_probe


def count_refused(method: str, status: int) -> None:
    """Count a request that was refused before it had a route."""
    REQUESTS.labels("refused", _method(method), int(status)).inc()


def _method(name: str) -> str:
    """Limit the values of the label: clients may send any method."""
    return name if name in METHODS else "other"
