"""Convert every error to JSON with `detail` and `code`. Field errors are a list in `detail`."""

import sys
from collections.abc import Iterator, Mapping
from logging import getLogger
from typing import Any
from uuid import uuid4

from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler

from api.exceptions import Invalid
from common.error_codes import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CSRF_FAILED,
    ERROR_CODES,
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID,
    NOT_FOUND,
    CodedError,
    error_body,
    generic_code,
)
from common.outages import HEADERS, away

FIELD_ERRORS: dict[str, tuple[str, str | None]] = {
    "required": ("missing", "Field required"),
    "null": ("value_error", "Input should not be null"),
    "no_name": ("missing", "Field required"),
    "min_length": ("string_too_short", None),
    "max_length": ("string_too_long", None),
    "blank": ("string_too_short", "String should have at least 1 character"),
    "invalid": ("value_error", None),
    "file": ("string_type", None),
    "not_a_list": ("list_type", "Input should be a valid list"),
    "surrogate_characters_not_allowed": (
        "string_unicode",
        "Input should be a valid string, unable to parse raw data as a unicode string",
    ),
}
"""DRF's error codes and the `type` and `msg` that the Images API uses for them. Other codes are
passed through."""
ECHO_CHARACTERS = 200
logger = getLogger(__name__)
READING = frozenset({"GET", "HEAD", "DELETE"})


CSRF_PREFIX = "CSRF Failed: "


def answer_exception(problem: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. Field errors become one 422 response that lists all of them."""
    if outage := away(problem):
        logger.warning("%s %s", outage.text, problem)
        return Response(error_body(outage), status=503, headers=HEADERS)
    response = _of_bad_input(problem, context) or _of_coded_error(problem)
    if response is not None:
        return response
    response = exception_handler(problem, context)
    if response is None:
        return None
    for name, value in getattr(problem, "headers", {}).items():
        response[name] = value
    response.data = _body_of(problem, response)
    return response


def _of_coded_error(problem: Exception) -> Response | None:
    if not isinstance(problem, CodedError):
        return None
    kind = problem.error_code
    return Response(error_body(kind, str(problem)), status=kind.status, headers=problem.headers)


def _body_of(problem: Exception, response: Response) -> dict[str, Any]:
    """The body of a DRF or Django error. Its code is kept if it is one of ours."""
    generic = generic_code(response.status_code)
    detail = response.data.get("detail") if isinstance(response.data, dict) else None
    if detail is None or isinstance(problem, exceptions.MethodNotAllowed | Http404):
        return error_body(generic)
    if str(detail).startswith(CSRF_PREFIX):
        return error_body(CSRF_FAILED, str(detail))
    found = ERROR_CODES.get(getattr(detail, "code", ""), generic)
    return error_body(found if found.status == response.status_code else generic, str(detail))


def _of_bad_input(problem: Exception, context: dict[str, Any]) -> Response | None:
    match problem:
        case exceptions.ValidationError():
            entries = list(_entries(problem, context["request"]))
            return Response(error_body(INVALID, entries), status=422)
        case Invalid():
            return Response(error_body(INVALID, problem.entries), status=422)
        case RequestDataTooBig():
            return Response(error_body(BODY_TOO_LARGE, str(problem)), status=413)
        case TooManyFieldsSent() | TooManyFilesSent():
            return Response(error_body(BAD_REQUEST, str(problem)), status=400)
        case SuspiciousOperation():
            return Response(error_body(BAD_REQUEST), status=400)
    return None


def _entries(problem: exceptions.ValidationError, request: Request) -> Iterator[dict[str, Any]]:
    where, given = (
        ("query", request.query_params) if request.method in READING else ("body", request.data)
    )
    yield from _walk(problem.detail, given, [where])


def _walk(detail: Any, given: Any, location: list[str | int]) -> Iterator[dict[str, Any]]:
    """The entries of nested errors, with the location of each, including fields in lists of
    objects."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            here = [] if name == "non_field_errors" else [name]
            yield from _walk(inner, _part(given, name) if here else given, [*location, *here])
    elif isinstance(detail, list) and any(isinstance(each, Mapping) for each in detail):
        for index, inner in enumerate(detail):
            yield from _walk(inner, _part(given, index), [*location, index])
    else:
        for error in detail if isinstance(detail, list) else [detail]:
            code = str(getattr(error, "code", "value_error"))
            kind, text = FIELD_ERRORS.get(code, (code, None))
            yield {"type": kind, "loc": location, "msg": text or str(error), "input": _echo(given)}


def _part(given: Any, name: Any) -> Any:
    if isinstance(given, Mapping):
        return given.get(name)
    return given[name] if isinstance(given, list) and isinstance(name, int) else None


def _echo(value: Any) -> str | int | float | None:
    """The rejected value if it is a scalar, cut to `ECHO_CHARACTERS` characters."""
    if isinstance(value, str):
        return value[:ECHO_CHARACTERS].encode(errors="replace").decode()
    return value if isinstance(value, int | float) else None


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse(error_body(BAD_REQUEST), status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse(error_body(FORBIDDEN), status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse(error_body(NOT_FOUND), status=404)


def crashed(request: HttpRequest) -> HttpResponse:
    """Handler of unexpected exceptions. The response has an id, under which Django logs the
    traceback."""
    if outage := away(sys.exception()):
        return JsonResponse(error_body(outage), status=503, headers=HEADERS)
    reason = f"{INTERNAL_ERROR.text} {uuid4().hex}"
    return JsonResponse(error_body(INTERNAL_ERROR, reason), status=500, reason=reason)
