"""Form and serializer fields that report errors with the types and texts of the Images API.

Classes named Query* are fields of a query string; each has its OpenAPI schema as `schema`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core.files import File
from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

YES = frozenset({"true", "1", "on", "yes", "y", "t"})
NO = frozenset({"false", "0", "off", "no", "n", "f"})
BOOL = "Input should be a valid boolean, unable to interpret input"
DIGITS = 12
DATETIME = "Input should be a valid datetime"
BOOLEAN = {"type": "boolean"}
"""JSON Schema of a boolean. It cannot express the other accepted spellings."""
INT = "Input should be a valid integer, unable to parse string as an integer"


def parse_moment(text: str) -> datetime | None:
    """Parse an ISO 8601 date and time (UTC if it has no offset). Returns it in UTC, or None if
    invalid."""
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_bool(value: object) -> bool | None:
    """Parse a boolean in any accepted spelling. None if invalid."""
    word = str(value).lower()
    return True if word in YES else False if word in NO else None


@extend_schema_field(BOOLEAN)
class FormBool(serializers.Field[bool, Any, Any, Any]):
    """A boolean in a form, where values are text: `true`, `1`, `on`, `yes` and so on."""

    default_error_messages = {"bool_parsing": BOOL}

    def to_internal_value(self, data: object) -> bool:
        found = parse_bool(data)
        if found is None:
            self.fail("bool_parsing")
        return found

    def to_representation(self, value: bool) -> bool:
        return value


@extend_schema_field({"type": "boolean"})
class JsonBool(FormBool):
    """A boolean in a JSON body. No other type is accepted."""

    default_error_messages = {"bool_type": "Input should be a valid boolean"}

    def to_internal_value(self, data: object) -> bool:
        if not isinstance(data, bool):
            self.fail("bool_type")
        return data


@extend_schema_field({"type": "string", "pattern": "^[^\\u0000]+$"})
class Text(serializers.CharField):
    """A string, not trimmed. Other types, such as numbers, are rejected instead of converted."""

    default_error_messages = {
        "string_type": "Input should be a valid string",
        "file": "Input should be a valid string, and a file was sent",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is None:
            self.fail("string_type")
        return super().run_validation(data)

    def to_internal_value(self, data: object) -> str:
        if isinstance(data, File):
            self.fail("file")
        if not isinstance(data, str):
            self.fail("string_type")
        return super().to_internal_value(data)


@extend_schema_field({"type": "string", "format": "date-time"})
class MomentField(serializers.Field[datetime, Any, Any, Any]):
    """An ISO 8601 date and time; UTC if it has no offset."""

    default_error_messages = {"datetime_parsing": DATETIME}

    def to_internal_value(self, data: object) -> datetime:
        found = parse_moment(data) if isinstance(data, str) else None
        if found is None:
            self.fail("datetime_parsing")
        return found

    def to_representation(self, value: datetime) -> datetime:
        return value


class Id(serializers.UUIDField):
    """A UUID as text. DRF also accepts integers and so reads `false` as UUID 0."""

    def to_internal_value(self, data: object) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


def faults(errors: Any) -> dict[str, list[ErrorDetail]]:
    """Convert the errors of a Django form to the detail of a DRF ValidationError."""
    return {
        name: [
            ErrorDetail(text, code=problem.code or "invalid")
            for problem in problems
            for text in problem.messages
        ]
        for name, problems in errors.as_data().items()
    }


class QueryBool(forms.Field):
    """A boolean, or None if absent."""

    schema = BOOLEAN

    def clean(self, value: Any) -> bool | None:
        if value is None:
            return None
        found = parse_bool(value)
        if found is None:
            raise forms.ValidationError(BOOL, code="bool_parsing")
        return found


class QueryInt(forms.Field):
    """An integer within bounds, or `default` if absent."""

    def __init__(self, *, default: int | None, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.default, self.least, self.most = default, least, most
        self.schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
        if default is not None:
            self.schema["default"] = default

    def clean(self, value: Any) -> int | None:
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


class QueryText(forms.CharField):
    """A search text. Blank is the same as absent."""

    schema: Mapping[str, Any] = {"type": "string", "pattern": "^[^\\u0000]*$"}

    def __init__(self, *, schema: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schema = schema or self.schema


class QueryNeedle(forms.CharField):
    """A search text that is not trimmed."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(strip=False, max_length=most, **kwargs)
        pattern = "^[^\\u0000]+$"
        self.schema = {"type": "string", "minLength": 1, "maxLength": most, "pattern": pattern}


class QueryChoice(forms.Field):
    """One of the given words, or None if absent."""

    def __init__(self, *, among: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.among = among
        self.schema: Mapping[str, Any] = {"type": "string", "enum": list(among)}

    def clean(self, value: Any) -> str | None:
        if value is not None and value not in self.among:
            *words, last = (repr(each) for each in self.among)
            text = f"Input should be {', '.join(words)} or {last}"
            raise forms.ValidationError(text, code="enum")
        found: str | None = value
        return found


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
AGE = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


class QuerySince(forms.Field):
    """A date and time as in QueryMoment, or an age such as `90s`, `10m`, `2h`, `7d`."""

    schema: Mapping[str, Any] = {
        "type": "string",
        "pattern": "^([0-9]{1,9}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}.*)$",
    }

    def clean(self, value: Any) -> datetime | None:
        if value is not None and (age := AGE.fullmatch(value.strip())):
            try:
                return timezone.now() - timedelta(seconds=int(age[1]) * UNITS[age[2]])
            except OverflowError:
                return datetime.min.replace(tzinfo=UTC)
        return QueryMoment().clean(value)


class _Repeated(forms.Widget):
    """All values of a repeated parameter."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        found: list[str]
        if isinstance(data, QueryDict):
            found = data.getlist(name)
        else:
            found = [data[name]] if name in data else []
        return found


class QueryChoices(QueryChoice):
    """Any of the given words, in repeated parameters or separated by commas. An empty tuple if
    absent."""

    widget = _Repeated

    def __init__(self, *, among: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(among=among, **kwargs)
        self.schema = {"type": "array", "items": {"type": "string", "enum": list(among)}}

    def clean(self, value: Any) -> Any:
        words = [word for each in value or () for word in each.split(",")]
        found = [super(QueryChoices, self).clean(word) for word in words]
        return tuple(sorted({word for word in found if word is not None}))


class QueryMoment(forms.Field):
    """An ISO 8601 date and time, UTC if it has no offset; None if absent."""

    schema: Mapping[str, Any] = {"type": "string", "format": "date-time"}

    def clean(self, value: Any) -> datetime | None:
        if value is None:
            return None
        found = parse_moment(value)
        if found is None:
            raise forms.ValidationError(DATETIME, code="datetime_parsing")
        return found
