"""What every view of the API does alike."""

from typing import Any

from django_filters import FilterSet
from rest_framework.exceptions import MethodNotAllowed, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet


class ApiView(GenericViewSet[Any]):
    """A resource whose methods are bound by its address: `as_view({"get": "list"})`."""

    http_method_names = ["get", "head", "post", "patch", "delete"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """A method that is not there is refused whoever asks."""
        if (request.method or "") not in self.allowed_methods:
            raise MethodNotAllowed(request.method or "")
        super().initial(request, *args, **kwargs)

    def filtered(self, filterset: type[FilterSet], queryset: Any) -> Any:
        """What the query string leaves of a queryset. Raises ValidationError."""
        found = filterset(self.request.query_params, queryset=queryset, request=self.request)
        if not found.is_valid():
            raise ValidationError(found.errors.as_data())
        return found.qs

    def paged(self, queryset: Any, serializer: Any) -> Response:
        page = self.paginate_queryset(queryset)
        return self.get_paginated_response(serializer(page, many=True).data)


class OpenView(ApiView):
    """For anybody, whatever credentials come along."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
