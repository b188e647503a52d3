"""What every view of the API does alike."""

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
"""Characters of a query string: what longer ones ask for is worked out each time."""


class ApiView(GenericViewSet[Any]):
    """A resource whose methods are bound by its address: `as_view({"get": "list"})`."""

    body_limits: ClassVar[dict[str, int]] = {}
    """Bytes of a body that a method takes, by method. Without an entry it takes few from anybody;
    with one, the web server asks for credentials before it reads."""

    queries: ClassVar[Mapping[str, type[FilterSet] | Fields]] = {}
    """What the query string of a method may hold, by action. Everything else is refused."""
    takes_any_query = False
    """Whether unknown parameters are ignored instead."""

    http_method_names = ["get", "head", "post", "patch", "delete"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """A method that is not there is refused whoever asks."""
        if (request.method or "") not in self.allowed_methods:
            raise MethodNotAllowed(request.method or "")
        super().initial(request, *args, **kwargs)
        if not self.takes_any_query and request.META.get("QUERY_STRING"):
            known = names_of(self.queries.get(self.action or "", {}))
            if unknown := [name for name in request.query_params if name not in known]:
                raise UnknownParameters(unknown, known)

    def query(self) -> Mapping[str, Any]:
        """What the query string asks, by parameter of `queries`. Raises ValidationError."""
        wanted = self.queries[self.action or ""]
        if not isinstance(wanted, type):
            return asked(self.request, wanted)
        text = self.request.META.get("QUERY_STRING", "")
        parse: Any = _asked if len(text) <= REMEMBERED else _parsed
        found: Mapping[str, Any] = parse(wanted, text)
        return found

    def filtered(self, filterset: type[FilterSet], queryset: Any) -> Any:
        """What the query string leaves of a queryset. Raises ValidationError."""
        return narrowed(filterset, queryset, self.query())

    def paged(self, queryset: Any, serializer: Any) -> Response:
        page = self.paginate_queryset(queryset)
        return self.get_paginated_response(serializer(page, many=True).data)


def _parsed(filterset: type[FilterSet], text: str) -> Mapping[str, Any]:
    found = filterset(QueryDict(text))
    if not found.is_valid():
        raise ValidationError(faults(found.errors))
    return MappingProxyType(found.form.cleaned_data)


_asked = lru_cache(maxsize=1024)(_parsed)
"""Clients ask for the same few lists, and a form takes longer to make than a page to find."""


@cache
def _filters(filterset: type[FilterSet]) -> FilterSet:
    """One that is asked for its filters only, which hold nothing of a request."""
    return filterset()


def narrowed(filterset: type[FilterSet], queryset: Any, asked: Mapping[str, Any]) -> Any:
    """A queryset, narrowed by what was asked for."""
    filters: Any = _filters
    for name, each in filters(filterset).filters.items():
        queryset = each.filter(queryset, asked[name])
    return queryset


class OpenView(ApiView):
    """For anybody, whatever credentials come along."""

    takes_any_query = True
    authentication_classes = ()
    permission_classes = (AllowAny,)
