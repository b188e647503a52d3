"""Base classes of API views."""

from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

from django.http import QueryDict
from django_filters import FilterSet
from rest_framework.exceptions import MethodNotAllowed, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from api.exceptions import UnknownParameters
from api.fields import faults
from api.query_parameters import Fields, asked, names_of

REMEMBERED = 256
"""Maximum length in characters of a query string whose parsed form is cached."""


class ApiView(GenericViewSet[Any]):
    """A resource. URLs bind its methods: `as_view({"get": "list"})`."""

    body_limits: ClassVar[dict[str, int]] = {}
    """Maximum body size in bytes, by HTTP method. A method without an entry accepts small bodies
    from anybody; with one, the web server checks credentials before it reads the body."""

    queries: ClassVar[Mapping[str, type[FilterSet] | Fields]] = {}
    """Query parameters by action. All others are rejected."""
    takes_any_query = False
    """Ignore unknown query parameters instead of rejecting them."""

    http_method_names = ["get", "head", "post", "patch", "delete"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Reject unsupported methods before authentication, and unknown query parameters after
        it."""
        if (request.method or "") not in self.allowed_methods:
            raise MethodNotAllowed(request.method or "")
        super().initial(request, *args, **kwargs)
        if not self.takes_any_query and request.META.get("QUERY_STRING"):
            known = names_of(self.queries.get(self.action or "", {}))
            if unknown := [name for name in request.query_params if name not in known]:
                raise UnknownParameters(unknown, known)

    def query(self) -> Mapping[str, Any]:
        """The parsed query string, by parameter of `queries`. Raises ValidationError."""
        wanted = self.queries[self.action or ""]
        if not isinstance(wanted, type):
            return asked(self.request, wanted)
        text = self.request.META.get("QUERY_STRING", "")
        parse: Any = _asked if len(text) <= REMEMBERED else _parsed
        found: Mapping[str, Any] = parse(wanted, text)
        return found

    def filtered(self, filterset: type[FilterSet], queryset: Any) -> Any:
        """Apply the filters in the query string to a queryset. Raises ValidationError."""
        return narrowed(filterset, queryset, self.query())

    def paged(self, queryset: Any, serializer: Any) -> Response:
        """Respond with the requested page of a queryset."""
        page = self.paginate_queryset(queryset)
        return self.get_paginated_response(serializer(page, many=True).data)


def _parsed(filterset: type[FilterSet], text: str) -> Mapping[str, Any]:
    found = filterset(QueryDict(text))
    if not found.is_valid():
        raise ValidationError(faults(found.errors))
    return MappingProxyType(found.form.cleaned_data)


_asked = lru_cache(maxsize=1024)(_parsed)
"""Cached because clients request the same few lists, and building the form is slower than the
query."""


@cache
def _filters(filterset: type[FilterSet]) -> FilterSet:
    """A shared instance, used only for its filters, which keep no state of a request."""
    return filterset()


def narrowed(filterset: type[FilterSet], queryset: Any, asked: Mapping[str, Any]) -> Any:
    """Apply the filters with these parsed values to a queryset."""
    filters: Any = _filters
    for name, each in filters(filterset).filters.items():
        queryset = each.filter(queryset, asked[name])
    return queryset


class OpenView(ApiView):
    """Open to everybody. Credentials are ignored."""

    takes_any_query = True
    authentication_classes = ()
    permission_classes = (AllowAny,)
