"""Every error as the Images API words it: JSON with `detail`, bad fields as a list."""

from collections.abc import Iterator, Mapping
from logging import getLogger
from typing import Any
from uuid import uuid4

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler

logger = getLogger(__name__)

FIELD_ERRORS: dict[str, tuple[str, str | None]] = {
    "required": ("missing", "Field required"),
    "null": ("missing", "Field required"),
    "no_name": ("missing", "Field required"),
    "max_length": ("string_too_long", None),
    "blank": ("string_too_short", "String should have at least 1 character"),
    "invalid": ("value_error", None),
}
"""Codes of the framework by the types and texts of the Images API; others pass as they are."""


def answer_exception(problem: Exception, context: dict[str, Any]) -> Response | None:
    """Errors as `{"detail": …}`; bad fields as 422 with the list form, all of them together."""
    if isinstance(problem, exceptions.ValidationError):
        return Response({"detail": list(_entries(problem, context["request"]))}, status=422)
    response = exception_handler(problem, context)
    if response is not None and isinstance(problem, Http404 | exceptions.NotFound):
        response.data = {"detail": getattr(problem, "detail", "Not Found")}
    if isinstance(problem, exceptions.MethodNotAllowed) and response is not None:
        response.data = {"detail": "Method Not Allowed"}
    return response


def _entries(problem: exceptions.ValidationError, request: Request) -> Iterator[dict[str, Any]]:
    where, given = (
        ("query", request.query_params) if request.method == "GET" else ("body", request.data)
    )
    detail = problem.detail if isinstance(problem.detail, dict) else {"__all__": problem.detail}
    for name, errors in detail.items():
        value = given.get(name) if isinstance(given, Mapping) else None
        for error in errors if isinstance(errors, list) else [errors]:
            code = str(getattr(error, "code", "value_error"))
            kind, text = FIELD_ERRORS.get(code, (code, None))
            yield {
                "type": kind,
                "loc": [where, name],
                "msg": text or str(error),
                "input": value if isinstance(value, str) else None,
            }


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse({"detail": "Bad Request"}, status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse({"detail": "Forbidden"}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse({"detail": "Not Found"}, status=404)


def crashed(request: HttpRequest) -> HttpResponse:
    """A crash answers with an id that stands beside the traceback in the log."""
    identity = uuid4().hex
    logger.error("request failed, id %s: %s %s", identity, request.method, request.path)
    return JsonResponse({"detail": f"Internal Server Error ({identity})"}, status=500)
