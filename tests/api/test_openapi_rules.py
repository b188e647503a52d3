"""Rules that keep the description usable for generated clients."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.openapi import description
from api.openapi_texts import TAGS

DOCUMENT = description()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    f"{method} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
NO_BODY = {"204", "304"}


def schemas(found: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a part of the document, with the place where it is."""
    if isinstance(found, dict):
        if not {"type", "enum", "anyOf", "oneOf", "allOf", "properties"}.isdisjoint(found):
            yield where, found
        for key, value in found.items():
            if key not in ("example", "examples", "enum"):
                yield from schemas(value, f"{where}.{key}")
    elif isinstance(found, list):
        for at, value in enumerate(found):
            yield from schemas(value, f"{where}[{at}]")


EVERY_SCHEMA = [*schemas(SCHEMAS, "schemas"), *schemas(DOCUMENT["paths"], "paths")]


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"


def test_arrays_have_items() -> None:
    for where, schema in EVERY_SCHEMA:
        if schema.get("type") == "array" or "array" in _kinds(schema):
            assert schema.get("items"), where


def test_enums_are_of_one_type_and_have_no_null() -> None:
    assert "NullEnum" not in SCHEMAS
    for where, schema in EVERY_SCHEMA:
        kinds = {type(value) for value in schema.get("enum", ())}
        assert kinds <= {str}, where


def test_no_choice_is_between_two_strings() -> None:
    for where, schema in EVERY_SCHEMA:
        for key in ("oneOf", "anyOf"):
            kinds = [each.get("type") for each in schema.get(key, ())]
            assert kinds.count("string") < 2, where
            for each in schema.get(key, ()):
                assert {"type", "$ref"} & set(each), where


def test_null_is_a_type() -> None:
    assert not [where for where, schema in EVERY_SCHEMA if "nullable" in schema]


def test_every_property_has_a_description() -> None:
    for where, schema in EVERY_SCHEMA:
        for name, each in schema.get("properties", {}).items():
            assert each.get("description"), f"{where}.{name}"


def test_components_have_descriptions_and_none_is_new_of_another() -> None:
    for name, schema in SCHEMAS.items():
        assert schema.get("description"), name
        # Go makes a function NewX of each X.
        assert name.removeprefix("New") not in SCHEMAS or not name.startswith("New"), name


def test_answers_have_all_their_properties() -> None:
    for name in ("Image", "ImageDetail", "Build", "Key", "User", "Step", "Refusal"):
        assert SCHEMAS[name]["required"] == list(SCHEMAS[name]["properties"]), name
    assert SCHEMAS["OrderRequest"]["required"] == ["name", "tag"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_say_what_they_do(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert operation["description"]
    assert operation["tags"][0] in TAGS
    assert len(operation["tags"]) == 1
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter["name"]
        assert parameter["schema"], parameter["name"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_have_examples(name: str) -> None:
    bodies = [OPERATIONS[name].get("requestBody", {})]
    bodies += OPERATIONS[name]["responses"].values()
    for body in bodies:
        for kind, media in body.get("content", {}).items():
            assert "example" in media or kind.startswith("image/"), kind


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_say_what_refusals_look_like(name: str) -> None:
    operation, answers = OPERATIONS[name], OPERATIONS[name]["responses"]
    wanted = {"503"}
    if operation.get("security") != [{}] and "security" in operation:
        wanted |= {"401", "422"}
        if not name.startswith("get "):
            wanted |= {"403"}
    if "{" in name:
        wanted |= {"404"}
    assert wanted <= set(answers)
    for status, answer in answers.items():
        if int(status) >= 400 and name != "get /readyz":
            component = "Faults" if status == "422" else "Refusal"
            ref = answer["content"]["application/json"]["schema"]["$ref"]
            assert ref == f"#/components/schemas/{component}", status
            assert answer["content"]["application/json"]["example"]["code"], status
        if status in ("429", "503") and name != "get /readyz":
            assert "Retry-After" in answer["headers"], status


def test_api_keys_are_the_first_credentials() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert next(iter(schemes)) == "Bearer"
    assert schemes["Bearer"]["scheme"] == "bearer"
    for name, operation in OPERATIONS.items():
        if operation.get("security", [{}]) != [{}]:
            assert next(iter(operation["security"])) == {"Bearer": []}, name


def _kinds(schema: dict[str, Any]) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else found
