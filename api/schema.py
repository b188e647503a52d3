"""OpenAPI generation: the parts that all operations share."""

import inspect
from typing import Any

from django_filters import FilterSet
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import Direction, OpenApiParameter

from api.openapi_texts import TAG_OF_SUFFIX, TAGS
from api.query_parameters import described
from common.error_codes import ErrorCode

CODE = {
    "type": "string",
    "description": "What kind of error it is, in a word that does not change. docs/api.md lists "
    "them.",
}
DETAIL = {
    "type": "object",
    "properties": {
        "detail": {"type": "string", "description": "What is wrong, in a sentence."},
        "code": CODE,
    },
    "required": ["detail", "code"],
}
FAULT = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "A word for the kind of fault."},
        "loc": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "description": "Where: `body` or `query`, then the name of the field.",
        },
        "msg": {"type": "string", "description": "What is wrong, in a sentence."},
        "input": {
            "type": ["string", "number", "boolean", "null"],
            "description": "What was sent, if it is short.",
        },
    },
    "required": ["type", "loc", "msg", "input"],
}
FAULTS = {
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "items": FAULT,
            "minItems": 1,
            "description": "Every field and parameter that is wrong.",
        },
        "code": CODE,
    },
    "required": ["detail", "code"],
}
HEADERS = {
    401: {"WWW-Authenticate": "The scheme to use, and where a scope is missing, which one."},
    429: {"Retry-After": "How many seconds to wait."},
    503: {"Retry-After": "How many seconds to wait."},
}
BODY_REFUSALS = {
    400: "The body could not be read as what it claims to be.",
    413: "The body is too large.",
    415: "No body of this kind is taken.",
}
FIRST_ERROR = 400


class Schema(AutoSchema):
    """Adds the errors common to all operations. A string as a response is an error's description.

    A view may describe the parameters of its path in `path_texts`.
    """

    def _get_serializer(self) -> None:
        """Disable guessing: every operation declares its request and responses."""

    def get_override_parameters(self) -> list[Any]:
        """Add the query parameters that the view declares in `queries`."""
        found: list[Any] = super().get_override_parameters()
        query = getattr(self.view, "queries", {}).get(getattr(self.view, "action", ""), {})
        described_here = query_parameters if isinstance(query, type) else described
        return [*described_here(query), *found]

    def get_summary(self) -> str:
        """The first paragraph of the method's docstring."""
        return _docstring(self)[0].removesuffix(".")

    def get_description(self) -> str:  # type: ignore[override]
        """The docstring after the first paragraph, or the first paragraph if there is no more."""
        first, rest = _docstring(self)
        return rest or first

    def get_tags(self) -> list[str]:
        first, *others = self.path.strip("/").split("/")
        for part in others:
            if part in TAG_OF_SUFFIX:
                return [TAG_OF_SUFFIX[part]]
        return [first if first in TAGS else "service"]

    def get_auth(self) -> list[dict[str, list[str]]]:
        """List API keys first: client generators use the first scheme that they support."""
        found: list[dict[str, list[str]]] = super().get_auth()
        found.sort(key=lambda each: "Bearer" not in each)
        return [*found, {}] if getattr(self.view, "anonymous_allowed", False) else found

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status, why in self._common_refusals().items():
            bodies.setdefault(str(status), self._refusal(status, why))
        return dict(sorted(bodies.items()))

    def _get_response_for_code(
        self,
        serializer: Any,
        status_code: str,
        media_types: Any = None,
        direction: Direction = "response",
    ) -> dict[str, Any]:
        if isinstance(serializer, str) and int(status_code) >= FIRST_ERROR:
            return self._refusal(int(status_code), serializer)
        found: dict[str, Any] = super()._get_response_for_code(
            serializer, status_code, media_types, direction
        )
        return found

    def _common_refusals(self) -> dict[int, str]:
        found: dict[int, str] = {503: "The database or the file storage is unavailable."}
        if self.view.authentication_classes:
            found[401] = "The credentials are missing, wrong, used up or not enough."
            if self.method not in ("GET", "HEAD"):
                found[403] = "A session's request came without its CSRF token."
        elif "{" not in self.path:
            found[400] = "The request cannot be read."
        if "{" in self.path:
            found[404] = "There is none, or it is not the caller's to know."
        if self.get_request_serializer() is not None and self.method in ("POST", "PATCH"):
            found |= BODY_REFUSALS
            found[422] = "Fields are missing or wrong: all of them are named."
        elif self.view.authentication_classes:
            found[422] = "Parameters are wrong: all of them are named."
        return found

    def _refusal(self, status: int, why: str) -> dict[str, Any]:
        name, schema = ("Faults", FAULTS) if status == 422 else ("Refusal", DETAIL)  # noqa: PLR2004
        body = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema, name)
        self.registry.register_on_missing(body)
        found: dict[str, Any] = {
            "description": why,
            "content": {"application/json": {"schema": body.ref}},
        }
        if status in HEADERS:
            found["headers"] = {
                name: {"schema": {"type": "string"}, "description": text}
                for name, text in HEADERS[status].items()
            }
        return found

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = super()._resolve_path_parameters(variables)
        texts = getattr(self.view, "path_texts", {})
        for each in found:
            if each["name"] in texts:
                each["description"] = texts[each["name"]]
        return found


def _docstring(schema: AutoSchema) -> tuple[str, str]:
    """The first paragraph of the method's docstring on one line, and the rest."""
    method = getattr(schema.view, getattr(schema.view, "action", schema.method.lower()))
    first, _, rest = inspect.cleandoc(method.__doc__ or "").partition("\n\n")
    return " ".join(first.split()), rest.strip()


def refusals(*kinds: ErrorCode) -> dict[int, str]:
    """Error descriptions by HTTP status, for `extend_schema`."""
    found: dict[int, str] = {}
    for kind in kinds:
        line = f"`{kind.code}`: {kind.text}"
        found[kind.status] = f"{found[kind.status]}\n\n{line}" if kind.status in found else line
    return found


def query_parameters(filterset: type[FilterSet]) -> list[OpenApiParameter]:
    """OpenAPI parameters of a list's filters."""
    return [
        OpenApiParameter(
            name, each.field.schema, OpenApiParameter.QUERY, description=each.field.help_text
        )
        for name, each in filterset.base_filters.items()
    ]
