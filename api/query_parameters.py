"""Query parameters of operations that are not lists, declared with fields of `api.fields`."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from django import forms
from django_filters import FilterSet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from api.fields import faults

Fields = Mapping[str, forms.Field]


def asked(request: Request, fields: Fields) -> dict[str, Any]:
    """Parse the query string; values by name. Raises ValidationError with all errors."""
    form = forms.Form(request.query_params)
    form.fields.update(deepcopy(dict(fields)))
    if not form.is_valid():
        raise ValidationError(faults(form.errors))
    return form.cleaned_data


def names_of(query: type[FilterSet] | Fields) -> list[str]:
    """The names of all parameters, in the order of declaration."""
    return list(query.base_filters if isinstance(query, type) else query)


def described(fields: Fields) -> list[OpenApiParameter]:
    """OpenAPI parameters of these fields."""
    return [
        OpenApiParameter(
            name,
            getattr(field, "schema", {}),
            OpenApiParameter.QUERY,
            required=field.required and getattr(field, "default", None) is None,
            description=str(field.help_text),
        )
        for name, field in fields.items()
    ]
