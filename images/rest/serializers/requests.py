"""What clients send about images (the forms of the Chutes Images API)."""

from collections.abc import Callable, Mapping
from threading import local
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.core.files import File
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import User
from api.fields import FormBool, JsonBool, Text
from api.strict_serializers import StrictSerializer
from builds import context
from builds.build_options import (
    ARGS_CHARACTERS,
    LABELS_BYTES,
    TARGET_CHARACTERS,
    TARGETS,
    TEXT_CHARACTERS,
    OptionRefused,
    check_build_args,
    check_labels,
    check_target,
)
from builds.resource_classes import ClassRefused, choose
from images import naming
from images.catalog import Wanted
from images.models import Logo

T = TypeVar("T")
NO_LOGO = frozenset({"", "__none__"})
PATH_CHARACTERS = 1024
LABELS_CHARACTERS = 2 * LABELS_BYTES
"""Of JSON text, in which characters may be escaped."""
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
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


@extend_schema_field(
    {**STRINGS, "description": "Values of ARG instructions, by name: a JSON object of strings."}
)
class BuildArgsField(Text):
    pass


@extend_schema_field({"type": "string", "pattern": TARGETS})
class TargetField(Text):
    pass


@extend_schema_field({**STRINGS, "description": "Labels, by name: a JSON object of strings."})
class LabelsField(Text):
    pass


class TextOrFile(Text):
    """A text that may be sent as a file, as `curl -F readme=@README.md` does."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, File):
            # Reads at least one character more than allowed, to notice that it is too long.
            most = 4 * ((self.max_length or TEXT_CHARACTERS) + 1)
            data = data.read(most).decode(errors="surrogateescape")
        return super().run_validation(data)


@extend_schema_field({"type": "string", "pattern": r"^([a-z0-9]+(-[a-z0-9]+)*)?$"})
class ResourceClassField(Text):
    pass


class OrderSerializer(StrictSerializer):
    """The form of `POST /images/`. The order of the fields is that of its errors."""

    wait = FormBool(required=False, help_text="Whether the answer is the log as it comes.")
    build_context = serializers.FileField(
        required=False,
        allow_empty_file=True,
        help_text="A .zip, .tar, .tar.gz or .tar.zst archive. Without it the context is empty.",
    )
    username = Text(required=False, help_text="The caller's own.")
    name = NameField(min_length=3, max_length=65)
    readme = TextOrFile(required=False, allow_blank=True, max_length=TEXT_CHARACTERS)
    logo_id = LogoField(
        required=False, allow_blank=True, help_text="From `POST /logos/`; or `__none__`."
    )
    tag = TagField(max_length=128)
    dockerfile = TextOrFile(
        required=False,
        max_length=TEXT_CHARACTERS,
        help_text="The text. Required unless `dockerfile_path` is sent.",
    )
    image = Text(
        required=False,
        allow_blank=True,
        help_text="What the command line sends is not looked at.",
    )
    public = FormBool(required=False, help_text="Private unless this says else.")
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
    resource_class = ResourceClassField(
        required=False,
        allow_blank=True,
        max_length=40,
        help_text="How much the build may use: a name that operators give; the default without it.",
    )
    dockerfile_path = Text(
        required=False,
        max_length=PATH_CHARACTERS,
        help_text="Where the Dockerfile is in the context, such as `docker/Dockerfile`.",
    )
    replace = FormBool(
        required=False,
        help_text="Whether an image that succeeded is built again under the same name and tag. Its "
        "last good build can be pulled until the new one has succeeded.",
    )

    def to_internal_value(self, data: Any) -> Any:
        self.fields["dockerfile"].required = not data.get("dockerfile_path")
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "dockerfile_path" in attrs:
            fault = ""
            if "dockerfile" in attrs:
                fault = "takes the place of dockerfile: send one of the two"
            elif attrs.get("build_context") is None:
                fault = "needs a build_context that the Dockerfile is in"
            if fault:
                raise serializers.ValidationError({"dockerfile_path": [fault]}, code="value_error")
        return attrs

    def validate_build_context(self, value: "File[bytes]") -> "File[bytes]":
        try:
            context.detect(value.file or value)
        except context.ContextRefused as problem:
            raise serializers.ValidationError(problem.text, code="value_error") from problem
        value.seek(0)
        return value

    def validate_dockerfile_path(self, value: str) -> str:
        return "/".join(_path(value))

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
        return _build_args(_strings(value))

    def validate_target(self, value: str) -> str:
        return _checked(check_target, value)

    def validate_labels(self, value: str) -> dict[str, str]:
        found = _strings(value)
        if found is None:
            text = 'takes a JSON object of strings by label, such as {"com.example.team": "blue"}'
            raise serializers.ValidationError(text, code="json_type")
        return _checked(check_labels, found)

    def validate_resource_class(self, value: str) -> str:
        try:
            return choose(self.context["owner"].pk, value)
        except ClassRefused as problem:
            raise serializers.ValidationError(str(problem), code="value_error") from problem


class _Own(local):
    """One serializer for each thread: making its fields takes longer than checking a form."""

    def __init__(self) -> None:
        self.context = dict[str, Any]()
        self.form = OrderSerializer(context=self.context)


_OWN = _Own()


def checked_order(data: Any, owner: User) -> dict[str, Any]:
    """The values of the form by field. Raises ValidationError."""
    _OWN.context["owner"] = owner
    found: dict[str, Any] = _OWN.form.run_validation(data)
    return found


def wanted(values: Mapping[str, Any], chutes_version: str) -> Wanted:
    """The request of a checked form."""
    described = {name: values[name] for name in ("readme", "public") if name in values}
    if "logo_id" in values:
        described["logo"] = values["logo_id"]
    if chutes_version:
        described["chutes_version"] = chutes_version[:40]
    options = (
        *("build_args", "target", "no_cache", "pull", "labels", "replace"),
        "resource_class",
    )
    return Wanted(
        name=values["name"],
        tag=values["tag"],
        dockerfile=values.get("dockerfile", ""),
        dockerfile_path=values.get("dockerfile_path", ""),
        described=described,
        **{name: values[name] for name in options if name in values},
    )


class ChangeSerializer(StrictSerializer):
    """The body of `PATCH`: only fields that change."""

    readme = Text(required=False, allow_blank=True, max_length=TEXT_CHARACTERS)
    public = JsonBool(required=False)
    protected = JsonBool(required=False, help_text="For operators.")


class RebuildSerializer(StrictSerializer):
    """Options of a new attempt. A missing option is the same as in the last attempt."""

    build_args = serializers.DictField(
        child=Text(allow_blank=True),
        required=False,
        help_text="Values of ARG instructions, by name. They replace all of the last attempt's.",
    )
    target = TargetField(
        required=False,
        allow_blank=True,
        max_length=TARGET_CHARACTERS,
        help_text="The stage to build, by its name; empty for the last one.",
    )
    no_cache = JsonBool(required=False, help_text="Whether every step runs again.")
    pull = JsonBool(required=False, help_text="Whether the registry is asked for every base.")

    def validate_build_args(self, value: dict[str, str]) -> dict[str, str]:
        if len(orjson.dumps(value)) > ARGS_CHARACTERS:
            text = f"takes at most {ARGS_CHARACTERS:,} bytes of names and values together"
            raise serializers.ValidationError(text, code="string_too_long")
        return _build_args(value)

    def validate_target(self, value: str) -> str:
        return _checked(check_target, value)


class LogoUploadSerializer(StrictSerializer):
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


def _build_args(found: dict[str, str] | None) -> dict[str, str]:
    if found is None or not all(
        naming.ARGUMENT.fullmatch(name) and "\0" not in each for name, each in found.items()
    ):
        text = 'takes a JSON object of strings by ARG names, such as {"PYTHON": "3.12"}'
        raise serializers.ValidationError(text, code="json_type")
    return _checked(check_build_args, found)


def _path(value: str) -> tuple[str, ...]:
    try:
        return context.path_parts(value)
    except context.ContextRefused as problem:
        raise serializers.ValidationError(problem.text, code="value_error") from problem


def _checked(check: Callable[[T], None], value: T) -> T:
    try:
        check(value)
    except (naming.BadName, OptionRefused) as problem:
        raise serializers.ValidationError(str(problem), code="value_error") from problem
    return value
