"""Reasons to refuse that the framework has no exception for, each with its status."""

import math

from rest_framework import exceptions


class Conflict(exceptions.APIException):
    """It is refused as things stand now."""

    status_code = 409


class TooLarge(exceptions.APIException):
    status_code = 413


class TooMany(exceptions.Throttled):
    """429 with Retry-After."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(wait=math.ceil(seconds))
        self.detail = text  # type: ignore[assignment]


class Invalid(exceptions.APIException):
    """422 for one fault that is not a field's."""

    status_code = 422

    def __init__(self, kind: str, text: str, *location: str) -> None:
        super().__init__(text)
        self.entry = {"type": kind, "loc": list(location), "msg": text, "input": None}
