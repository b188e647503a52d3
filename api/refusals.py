"""A reason to refuse that is about one value, and is no field's."""

from rest_framework import exceptions


class Invalid(exceptions.APIException):
    """422 for one fault that is not a field's."""

    status_code = 422

    def __init__(self, kind: str, text: str, *location: str) -> None:
        super().__init__(text)
        self.entry = {"type": kind, "loc": list(location), "msg": text, "input": None}
