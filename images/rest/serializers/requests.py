"""What clients send about images (the Chutes Images API's forms)."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.core.files import File
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.fields import FormBool, JsonBool, Text
from builds.build_options import (
    LABELS_BYTES,
    TARGET_CHARACTERS,
    TARGETS,
    OptionRefused,
    check_build_args,
    check_labels,
    check_target,
)
from images import naming
from images.catalog import Wanted
from images.models import Logo

T = TypeVar("T")
NO_LOGO = frozenset({"", "__none__"})
TEXT_CHARACTERS = 1024 * 1024
ARGS_CHARACTERS = 64 * 1024
LABELS_CHARACTERS = 2 * LABELS_BYTES
"""Of JSON, which may escape characters."""
UUID_PATTERN = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@extend_schema_field({"type": "string", "pattern": naming.NAMES})
class NameField(Text):
    pass


@extend_schema_field({"type": "string", "pattern": naming.TAGS})
class TagField(Text):
    pass


@extend_schema_field({"type": "string", "pattern": f"^({UUID_PATTERN}|__none__)$"})
class LogoField(Text):
    pass


@extend_schema_field({"type": "string", "description": "A JSON object of strings, by ARG name."})
class BuildArgsField(Text):
    pass


@extend_schema_field({"type": "string", "pattern": TARGETS})
class TargetField(Text):
    pass


@extend_schema_field({"type": "string", "description": "A JSON object of strings, by label."})
class LabelsField(Text):
    pass


class OrderSerializer(serializers.Serializer[Any]):
    """The form of `POST /images/`, in its order of declaration."""

    wait = FormBool(help_text="Whether the answer is the log as it comes.")
    build_context = serializers.FileField(
        allow_empty_file=True, help_text="A .zip, .tar, .tar.gz or .tar.zst archive."
    )
    username = Text(help_text="The caller's own.")
    name = NameField(min_length=3, max_length=65)
    readme = Text(allow_blank=True, max_length=TEXT_CHARACTERS)
    logo_id = LogoField(allow_blank=True, help_text="From `POST /logos/`; or `__none__`.")
    tag = TagField(max_length=128)
    dockerfile = Text(max_length=TEXT_CHARACTERS)
    image = Text(allow_blank=True, help_text="What the command line sends is not looked at.")
    public = FormBool()
    build_args = BuildArgsField(required=False, allow_blank=True, max_length=ARGS_CHARACTERS)
    target = TargetField(
        required=False,
        allow_blank=True,
        max_length=TARGET_CHARACTERS,
        help_text="The stage to build, by its name; the last one without it.",
    )
    no_cache = FormBool(required=False, help_text="Whether every step runs again.")
    pull = FormBool(required=False, help_text="Whether the registry is asked for every base.")
    labels = LabelsField(required=False, allow_blank=True, max_length=LABELS_CHARACTERS)

    def validate_name(self, value: str) -> str:
        return _checked(naming.check_name, value)

    def validate_tag(self, value: str) -> str:
        return _checked(naming.check_tag, value)

    def validate_logo_id(self, value: str) -> Logo | None:
        if value in NO_LOGO:
            return None
        try:
            found = Logo.objects.filter(pk=UUID(value), owner=self.context["owner"]).first()
        except ValueError:
            found = None
        if found is None:
            raise serializers.ValidationError("is not an id of a logo of yours", code="value_error")
        return found

    def validate_build_args(self, value: str) -> dict[str, str]:
        found = _strings(value)
        if found is None or not all(
            naming.ARGUMENT.fullmatch(name) and "\0" not in each for name, each in found.items()
        ):
            text = 'takes a JSON object of strings by ARG names, such as {"PYTHON": "3.12"}'
            raise serializers.ValidationError(text, code="json_type")
        return _checked(check_build_args, found)

    def validate_target(self, value: str) -> str:
        return _checked(check_target, value)

    def validate_labels(self, value: str) -> dict[str, str]:
        found = _strings(value)
        if found is None:
            text = 'takes a JSON object of strings by label, such as {"com.example.team": "blue"}'
            raise serializers.ValidationError(text, code="json_type")
        return _checked(check_labels, found)

    def wanted(self, chutes_version: str) -> Wanted:
        data = self.validated_data
        return Wanted(
            name=data["name"],
            tag=data["tag"],
            dockerfile=data["dockerfile"],
            readme=data["readme"],
            public=data["public"],
            logo=data["logo_id"],
            build_args=data.get("build_args", {}),
            target=data.get("target", ""),
            no_cache=data.get("no_cache", False),
            pull=data.get("pull", False),
            labels=data.get("labels", {}),
            chutes_version=chutes_version[:40],
        )

    @property
    def archive(self) -> "File[bytes]":
        found: File[bytes] = self.validated_data["build_context"]
        return found


class ChangeSerializer(serializers.Serializer[Any]):
    """What `PATCH` takes: only what is to change."""

    readme = Text(required=False, allow_blank=True, max_length=TEXT_CHARACTERS)
    public = JsonBool(required=False)
    protected = JsonBool(required=False, help_text="For operators.")


class LogoUploadSerializer(serializers.Serializer[Any]):
    logo = serializers.FileField(allow_empty_file=True)


def _strings(text: str) -> dict[str, str] | None:
    """A JSON object of strings; None for anything else."""
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return None
    if isinstance(found, dict) and all(isinstance(each, str) for each in found.values()):
        return found
    return None


def _checked(check: Callable[[T], None], value: T) -> T:
    try:
        check(value)
    except (naming.BadName, OptionRefused) as problem:
        raise serializers.ValidationError(str(problem), code="value_error") from problem
    return value
