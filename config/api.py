"""How the API speaks: JSON whatever was asked for, and pages counted from 0."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from django.core.paginator import EmptyPage, Paginator
from django.db.models import QuerySet
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import BasePagination
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

if TYPE_CHECKING:
    from rest_framework.views import APIView


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
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: "APIView | None" = None,
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
