"""CORS: lets pages of the origins in SLIPWAY_CORS_ORIGINS call the API from a browser.

Cookies are never accepted from other origins. Such pages send an API key.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

Answer = Callable[[HttpRequest], HttpResponse]
API = ("/images/", "/logos/", "/api_keys/", "/users/", "/webhooks/", "/openapi.json", "/ping")
"""Path prefixes of the API."""
METHODS = "GET, HEAD, POST, PATCH, DELETE"
TAKEN = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Range, "
    "X-Chutes-Hotkey, X-Chutes-Nonce, X-Chutes-Signature, X-Chutes-UserID, X-Chutes-Version"
)
TOLD = (
    "Content-Range, ETag, Idempotent-Replayed, Link, Location, RateLimit-Limit, "
    "RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate, X-Request-Id"
)
KEPT_SECONDS = 600


def cors(answer: Answer) -> Answer:
    """Middleware: answers preflight requests, and adds CORS headers to other responses."""

    def answer_origin(request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("Origin", "")
        if not settings.CORS_ORIGINS or not request.path.startswith(API):
            return answer(request)
        allowed = origin in settings.CORS_ORIGINS or "*" in settings.CORS_ORIGINS
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if origin and allowed and asks:
            response = HttpResponse(status=204)
            response["Access-Control-Allow-Methods"] = METHODS
            response["Access-Control-Allow-Headers"] = TAKEN
            response["Access-Control-Max-Age"] = str(KEPT_SECONDS)
        else:
            response = answer(request)
            response["Access-Control-Expose-Headers"] = TOLD
        patch_vary_headers(response, ["Origin"])
        if origin and allowed:
            everybody = "*" in settings.CORS_ORIGINS
            response["Access-Control-Allow-Origin"] = "*" if everybody else origin
        return response

    return answer_origin
