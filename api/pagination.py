"""Pages counted from 0, in the response format of the Images API."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from api.fields import QueryInt
from api.filters import DEFAULT_LIMIT, LIMIT, PAGE
from database.bounded_counts import Rows

if TYPE_CHECKING:
    from rest_framework.views import APIView


class Pages(BasePagination):
    """Reads `page` and `limit`. Pages count from 0; limit 0 means the default."""

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: "APIView | None" = None,
    ) -> list[Any]:
        self.page, self.limit = _asked(request, "page", PAGE), _asked(request, "limit", LIMIT)
        size = self.limit or DEFAULT_LIMIT
        start, stop = self.page * size, (self.page + 1) * size
        if not isinstance(queryset, QuerySet):
            self.total = len(queryset)
            return list(queryset[start:stop])
        rows = Rows(queryset)
        # The API's total is exact because clients page by it. The admin's count is bounded.
        self.total = rows.count()
        return list(rows.page(start, stop))

    def get_paginated_response(self, data: Any) -> Response:
        return Response(envelope(data, total=self.total, page=self.page, limit=self.limit))

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 0}
        return {
            "type": "object",
            "properties": {
                "total": {**number, "description": "Of all pages."},
                "page": number,
                "limit": number,
                "items": schema,
                "cord_refs": {
                    "type": "null",
                    "description": "Always null; kept for the Chutes command line.",
                },
            },
            "required": ["total", "page", "limit", "items", "cord_refs"],
        }


def envelope(items: Any, *, total: int, page: int, limit: int) -> dict[str, Any]:
    """The body of a list response."""
    return {"total": total, "page": page, "limit": limit, "items": items, "cord_refs": None}


def _asked(request: Request, name: str, field: QueryInt) -> int:
    """The value of a query parameter. Raises ValidationError."""
    try:
        return field.clean(request.query_params.get(name)) or 0
    except forms.ValidationError as problem:
        details = [ErrorDetail(text, problem.code) for text in problem.messages]
        raise ValidationError({name: details}) from problem
