"""Field kinds that refuse with the types and texts of the Images API's 422 answers."""

from typing import Any

from django import forms
from rest_framework import serializers

YES = frozenset({"true", "1", "on", "yes", "y", "t"})
NO = frozenset({"false", "0", "off", "no", "n", "f"})
BOOL = "Input should be a valid boolean, unable to interpret input"
DIGITS = 12
INT = "Input should be a valid integer, unable to parse string as an integer"


def parse_bool(value: object) -> bool | None:
    """None for what is not a boolean in any spelling that the API takes."""
    word = str(value).lower()
    return True if word in YES else False if word in NO else None


class BoolField(serializers.Field[bool, Any, Any, Any]):
    """A boolean of a request's body."""

    default_error_messages = {"bool_parsing": BOOL}

    def to_internal_value(self, data: object) -> bool:
        found = parse_bool(data)
        if found is None:
            self.fail("bool_parsing")
        return found

    def to_representation(self, value: bool) -> bool:
        return value


class QueryBool(forms.Field):
    """A boolean of a query string; None when absent."""

    def clean(self, value: Any) -> bool | None:
        if value is None:
            return None
        found = parse_bool(value)
        if found is None:
            raise forms.ValidationError(BOOL, code="bool_parsing")
        return found


class QueryInt(forms.Field):
    """A whole number of a query string within bounds; `default` when absent."""

    def __init__(self, *, default: int, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.default, self.least, self.most = default, least, most

    def clean(self, value: Any) -> int:
        if value is None:
            return self.default
        digits = value.strip().removeprefix("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) > DIGITS:
            raise forms.ValidationError(INT, code="int_parsing")
        found = int(value)
        if found < self.least:
            text = f"Input should be greater than or equal to {self.least}"
            raise forms.ValidationError(text, code="greater_than_equal")
        if found > self.most:
            text = f"Input should be less than or equal to {self.most}"
            raise forms.ValidationError(text, code="less_than_equal")
        return found
