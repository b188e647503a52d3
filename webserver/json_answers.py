"""JSON responses: adds an ETag, and compresses them if the client accepts gzip."""

import gzip
import hashlib
import re
from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_vary_headers

Answer = Callable[[HttpRequest], HttpResponse]
LEAST_BYTES = 1_024
"""Shorter responses are not compressed."""
LEVEL = 4
GZIP = re.compile(r"(^|[\s,])gzip\s*(,|;\s*q=(1|0\.[0-9]*[1-9])|$)", re.IGNORECASE)


def json_answers(answer: Answer) -> Answer:
    """Middleware. Streams, other types, and responses with no-store are not changed."""

    def answer_json(request: HttpRequest) -> HttpResponse:
        response = answer(request)
        if response.streaming or response.headers.get("Content-Type") != "application/json":
            return response
        if "no-store" in response.headers.get("Cache-Control", ""):
            return response
        if request.method in ("GET", "HEAD") and response.status_code == HTTPStatus.OK:
            response = _conditional(request, response)
        return _compressed(request, response)

    return answer_json


def _conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if "ETag" not in response.headers:
        digest = hashlib.blake2b(response.content, digest_size=16).hexdigest()
        # Weak, because the same JSON may be sent compressed or not.
        response.headers["ETag"] = f'W/"{digest}"'
    etag = response.headers["ETag"]
    return get_conditional_response(request, etag=etag, response=response) or response


def _compressed(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if len(response.content) < LEAST_BYTES or "Content-Encoding" in response.headers:
        return response
    patch_vary_headers(response, ["Accept-Encoding"])
    if not GZIP.search(request.headers.get("Accept-Encoding", "")):
        return response
    response.content = gzip.compress(response.content, LEVEL, mtime=0)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.content))
    return response
