"""How the API answers: JSON, pages counted from 0, and every error in the form clients expect."""

from collections.abc import Iterator
from logging import getLogger
from typing import Any
from uuid import uuid4

import orjson
from django.core.paginator import EmptyPage, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import BasePagination
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

logger = getLogger(__name__)

FIELD_ERRORS = {
    "required": ("missing", "Field required"),
    "null": ("missing", "Field required"),
    "no_name": ("missing", "Field required"),
    "max_length": ("string_too_long", None),
    "blank": ("string_too_short", "String should have at least 1 character"),
    "invalid": ("value_error", None),
}
"""Codes of the framework by the types and texts of the Images API; others pass as they are."""


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, option=orjson.OPT_UTC_Z, default=str)


class JsonAlways(BaseContentNegotiation):
    """Whatever a client says it accepts, the API speaks JSON: a stream's reader asks for SSE."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        content_type = request.content_type or ""
        return next((each for each in parsers if content_type.startswith(each.media_type)), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class ChutesPagination(BasePagination):
    """`page` from 0 and `limit`, both already checked by the view's filter."""

    def paginate_queryset(
        self, queryset: QuerySet[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        self.page = int(request.query_params.get("page", 0))
        self.limit = int(request.query_params.get("limit", 0))
        size = self.limit or 25
        self.limit = self.limit if "limit" in request.query_params else size
        pages = Paginator(queryset, size)
        self.total = pages.count
        try:
            return list(pages.page(self.page + 1).object_list)
        except EmptyPage:
            return []

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "total": self.total,
                "page": self.page,
                "limit": self.limit,
                "items": data,
                "cord_refs": None,
            }
        )


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
        value = given.get(name)
        for error in errors if isinstance(errors, list) else [errors]:
            kind, text = FIELD_ERRORS.get(error.code, (error.code, None))
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
