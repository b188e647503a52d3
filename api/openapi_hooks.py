"""Complete the OpenAPI document: required properties, texts, examples, plain references."""

from collections.abc import Iterator
from typing import Any

import orjson

from api.openapi_texts import (
    PARAMETER_TEXTS,
    PROPERTY_EXAMPLES,
    PROPERTY_TEXTS,
    STREAM_EXAMPLES,
    TAGS,
)
from common.error_codes import ERROR_CODES, error_body

Json = dict[str, Any]
EXACT = 2**53
"""The largest integer that JavaScript represents exactly. Larger bounds are of no use to
clients."""
ERROR_OF_STATUS = {kind.status: kind for kind in reversed(ERROR_CODES.values())}
ERRORS = ("#/components/schemas/Refusal", "#/components/schemas/Faults")
PLAIN = {"string": "text", "integer": 1, "number": 1.5, "boolean": False}
FORMATS = {
    "date-time": "2026-11-23T08:00:00.123456Z",
    "uuid": "e8c483f5-9f5d-535d-b854-744a0aea26d3",
    "uri": "https://ci.example/hook",
}


def complete(result: Json, generator: Any, request: Any, public: bool) -> Json:
    """Postprocessing hook of drf-spectacular."""
    # Copy the document, so that parts used in several places can be changed separately.
    result = orjson.loads(orjson.dumps(result, default=str))
    schemas = result["components"]["schemas"]
    for name, schema in schemas.items():
        _require_all(name, schema)
    for operation in operations(result):
        _hoist(operation, schemas)
    for name, schema in schemas.items():
        _complete_component(name, schema)
    for operation in operations(result):
        _add_examples(operation, schemas)
        for parameter in operation.get("parameters", ()):
            if not parameter.get("description") and parameter["name"] in PARAMETER_TEXTS:
                parameter["description"] = PARAMETER_TEXTS[parameter["name"]]
    used = {tag for operation in operations(result) for tag in operation["tags"]}
    result["tags"] = [
        {"name": name, "description": text} for name, text in TAGS.items() if name in used
    ]
    schemes = result["components"]["securitySchemes"]
    result["components"]["securitySchemes"] = dict(
        sorted(schemes.items(), key=lambda each: each[1]["type"] != "http")
    )
    return result


def operations(document: Json) -> Iterator[Json]:
    """All operations of an OpenAPI document."""
    for methods in document["paths"].values():
        yield from methods.values()


def _hoist(operation: Json, schemas: Json) -> None:
    """Turn schemas with a title into components of that name, so that client generators name the
    type."""
    for answer in operation["responses"].values():
        for media in answer.get("content", {}).values():
            title = media.get("schema", {}).get("title")
            if title:
                schemas[title] = {
                    key: value for key, value in media["schema"].items() if key != "title"
                }
                media["schema"] = {"$ref": f"#/components/schemas/{title}"}


def _require_all(component: str, schema: Json) -> None:
    """Mark all properties of responses as required: they are always present."""
    if "properties" in schema and not component.endswith("Request"):
        schema["required"] = list(schema["properties"])


def _complete_component(component: str, schema: Json) -> None:
    answers = not component.endswith("Request")
    if not answers:
        schema["additionalProperties"] = False
    schema.setdefault("description", f"{component}.")
    for name, each in schema.get("properties", {}).items():
        _complete_property(component, name, each, answers=answers)


def _complete_property(component: str, name: str, schema: Json, *, answers: bool) -> None:
    whole = f"{component}.{name}"
    if answers:
        schema.pop("readOnly", None)
        schema.pop("maxLength", None)
    if schema.get("type") == "object":
        schema.pop("maxLength", None)
    if schema.get("maximum", 0) > EXACT:
        del schema["maximum"]
    if len(schema.get("allOf", ())) == 1:
        schema |= schema.pop("allOf")[0]
    if len(schema.get("oneOf", ())) > 1 and all(_is_string(each) for each in schema["oneOf"]):
        _join(schema)
    _add_texts(whole, name, schema)
    each_value = schema.get("additionalProperties")
    if isinstance(each_value, dict):
        _complete_property(component, "", each_value, answers=answers)
    for inner in _inner(schema):
        for key, value in inner.get("properties", {}).items():
            _complete_property(component, key, value, answers=answers)


def _add_texts(whole: str, name: str, schema: Json) -> None:
    if text := PROPERTY_TEXTS.get(whole) or schema.get("description") or PROPERTY_TEXTS.get(name):
        schema["description"] = text
    if whole in PROPERTY_EXAMPLES or name in PROPERTY_EXAMPLES:
        example = PROPERTY_EXAMPLES.get(whole, PROPERTY_EXAMPLES.get(name))
        if _fits(schema, example):
            schema["examples"] = [example]


def _inner(schema: Json) -> Iterator[Json]:
    """Object schemas that are defined inline."""
    if "properties" in schema:
        yield schema
    if isinstance(schema.get("items"), dict):
        yield from _inner(schema["items"])


def _is_string(schema: Json) -> bool:
    return schema.get("type") == "string" and "format" not in schema


def _join(schema: Json) -> None:
    """Join `oneOf` (a text, or the empty text) to one string schema whose pattern allows both."""
    text = schema.pop("oneOf")[0]
    pattern = text.pop("pattern", None)
    schema |= text
    schema.pop("minLength", None)
    if pattern == "^[^\\u0000]+$":
        schema["pattern"] = "^[^\\u0000]*$"
    elif pattern:
        schema["pattern"] = f"^$|{pattern}"


def _fits(schema: Json, example: Any) -> bool:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names: Json = {"string": str, "boolean": bool, "integer": int, "object": dict}
    return any(isinstance(example, names[kind]) for kind in kinds if kind in names)


def _add_examples(operation: Json, schemas: Json) -> None:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media["example"] = example_of(media["schema"], schemas)
    for status, answer in operation["responses"].items():
        for kind, media in answer.get("content", {}).items():
            if kind in STREAM_EXAMPLES:
                media["example"] = STREAM_EXAMPLES[kind]
            elif media.get("schema", {}).get("$ref") in ERRORS:
                media["example"] = _error_example(int(status), answer["description"])
            elif kind == "application/json":
                media["example"] = example_of(media["schema"], schemas)


def _error_example(status: int, text: str) -> Json:
    """Example of the error that the description names first, else of one with that status."""
    named = ERROR_CODES.get(text.partition("`")[2].partition("`")[0])
    kind = named if named and named.status == status else ERROR_OF_STATUS[status]
    if status != 422:  # noqa: PLR2004
        return error_body(kind)
    fault = {"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": None}
    return error_body(kind, [fault])


def example_of(schema: Json, schemas: Json) -> Any:
    """An example value for a schema, built from the examples of its properties."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for key in ("examples", "enum"):
        if key in schema:
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0], schemas)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    return _plain_example(kind, schema, schemas)


def _plain_example(kind: str, schema: Json, schemas: Json) -> Any:
    if kind == "object":
        wanted = schema.get("properties", {})
        return {
            name: example_of(each, schemas)
            for name, each in wanted.items()
            if name in schema.get("required", ()) or "examples" in each
        }
    if kind == "array":
        return [example_of(schema["items"], schemas)] if schema.get("items") else []
    if kind == "null":
        return None
    return FORMATS.get(schema.get("format", ""), schema.get("minimum", PLAIN[kind]))
