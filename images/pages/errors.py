"""Errors outside the REST API: a page for browsers, JSON as in the API for all other clients."""

import json
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme

from api import errors
from common.error_codes import METHOD_NOT_ALLOWED, error_body

Answer = Callable[[HttpRequest], HttpResponse]

TEXTS: dict[int, tuple[str, str]] = {
    400: ("Bad request", "The server cannot read this request."),
    403: ("No permission", "Your account has no permission for this page."),
    404: ("Not found", "This page does not exist, or you have no permission to see it."),
    405: ("Not a page", "This address only takes actions from a page, such as a button press."),
    500: ("Server error", "Slipway failed to answer. An operator finds the reason in its log:"),
    503: ("Not available", "Slipway is not available for a moment. Reload the page to try again."),
}
SESSION_CHANGED = "Page out of date"
SESSION_CHANGED_TEXT = (
    "You signed in or out after this page was opened, so its buttons are no longer valid. "
    "Nothing was changed. Open the page again and repeat the action."
)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, errors.bad_request(request, exception))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, errors.forbidden(request, exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, errors.not_found(request, exception))


def crashed(request: HttpRequest) -> HttpResponse:
    """Makes no database query, because the database may be the cause."""
    response = errors.crashed(request)
    if not wants_page(request):
        return response
    title, text = TEXTS[response.status_code]
    context = {"title": title, "text": text, "detail": response.reason_phrase, "bare": True}
    if response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
        del context["detail"]
    return _with_page(response, render_to_string("pages/error.html", context))


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The usual cause is a page that was loaded before a sign-in or sign-out in another tab."""
    response = errors.forbidden(request, Exception(reason))
    return _answer(request, response, SESSION_CHANGED, SESSION_CHANGED_TEXT)


def method_errors(answer: Answer) -> Answer:
    """Middleware: gives an empty 405 a page or, for other clients, `detail`."""

    def answer_with_page(request: HttpRequest) -> HttpResponse:
        response = answer(request)
        if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED or response.streaming:
            return response
        if response.content or request.method == "HEAD":
            return response
        if not wants_page(request):
            response.content = json.dumps(error_body(METHOD_NOT_ALLOWED))
            response["Content-Type"] = "application/json"
            return response
        return _answer(request, response)

    return answer_with_page


def wants_page(request: HttpRequest) -> bool:
    """Browsers ask for HTML. Clients that accept anything or send an API key get JSON."""
    accept = request.headers.get("Accept", "")
    return "text/html" in accept and "Authorization" not in request.headers


def _answer(
    request: HttpRequest, response: HttpResponse, title: str = "", text: str = ""
) -> HttpResponse:
    """The response unchanged, or with a page as its content."""
    if not wants_page(request):
        return response
    default_title, default_text = TEXTS[response.status_code]
    context = {
        "title": title or default_title,
        "text": text or default_text,
        "back": page_before(request),
        "next_page": _after_sign_in(request, response.status_code),
    }
    page = render(request, "pages/error.html", context)
    return _with_page(response, page.content)


def _after_sign_in(request: HttpRequest, status: int) -> str:
    """This page or, if its URL cannot be opened with GET, the page before it."""
    if request.method == "GET" and status != HTTPStatus.METHOD_NOT_ALLOWED:
        return request.get_full_path()
    return page_before(request) or "/"


def _with_page(response: HttpResponse, content: bytes | str) -> HttpResponse:
    response.content = content
    response["Content-Type"] = "text/html; charset=utf-8"
    if "Content-Length" in response:
        response["Content-Length"] = str(len(response.content))
    return response


def page_before(request: HttpRequest) -> str:
    """The page of this site that the request came from, or an empty text."""
    referer = request.headers.get("Referer", "")
    try:
        ours = url_has_allowed_host_and_scheme(referer, {request.get_host()})
    except DisallowedHost:
        return ""
    parts = urlsplit(referer)
    if not ours or parts.path in ("", request.path):
        return ""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
