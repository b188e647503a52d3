"""What clients send about images (the Chutes Images API's forms)."""

from typing import Any
from uuid import UUID

import orjson
from django.core.files import File
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.fields import FormBool, JsonBool, Text
from images import naming
from images.catalog import Wanted
from images.models import Logo

NO_LOGO = frozenset({"", "__none__"})
TEXT_CHARACTERS = 1024 * 1024
ARGS_CHARACTERS = 64 * 1024
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


class OrderSerializer(serializers.Serializer[Any]):
    """The form of `POST /images/`, in its order of declaration."""

    wait = FormBool(help_text="Whether the answer is the log as it comes.")
    build_context = serializers.FileField(allow_empty_file=True, help_text="A zip archive.")
    username = Text(help_text="The caller's own.")
    name = NameField(min_length=3, max_length=65)
    readme = Text(allow_blank=True, max_length=TEXT_CHARACTERS)
    logo_id = LogoField(allow_blank=True, help_text="From `POST /logos/`; or `__none__`.")
    tag = TagField(max_length=128)
    dockerfile = Text(max_length=TEXT_CHARACTERS)
    image = Text(allow_blank=True, help_text="What the command line sends is not looked at.")
    public = FormBool()
    build_args = BuildArgsField(required=False, allow_blank=True, max_length=ARGS_CHARACTERS)

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
        try:
            found = orjson.loads(value or "{}")
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or not all(
            naming.ARGUMENT.fullmatch(name) and isinstance(each, str) and "\0" not in each
            for name, each in found.items()
        ):
            text = 'takes a JSON object of strings by ARG names, such as {"PYTHON": "3.12"}'
            raise serializers.ValidationError(text, code="json_type")
        return found

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


def _checked(check: Any, value: str) -> str:
    try:
        check(value)
    except naming.BadName as problem:
        raise serializers.ValidationError(str(problem), code="value_error") from problem
    return value
