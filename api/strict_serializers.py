"""Serializers that reject unknown fields."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from api.exceptions import named


class StrictSerializer(serializers.Serializer[Any]):
    """Reports every unknown field as an error, together with the errors of known fields."""

    tolerated: ClassVar[frozenset[str]] = frozenset()
    """Fields of the Chutes Images API that Slipway accepts and ignores."""

    def to_internal_value(self, data: Any) -> Any:
        unknown: dict[str, list[ErrorDetail]] = {}
        if isinstance(data, Mapping):
            text = f"There is no such field; {named(self.fields)}"
            unknown = {
                name: [ErrorDetail(text, "extra_forbidden")]
                for name in data
                if name not in self.fields and name not in self.tolerated
            }
        try:
            found = super().to_internal_value(data)
        except serializers.ValidationError as problem:
            if not isinstance(problem.detail, dict):
                raise
            raise serializers.ValidationError({**problem.detail, **unknown}) from problem
        if unknown:
            raise serializers.ValidationError(unknown)
        return found
