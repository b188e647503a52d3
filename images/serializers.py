"""Images and their builds as clients send and see them (the Chutes Images API's bodies)."""

from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.core.files import File
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.serializers import UserSerializer
from api.fields import FormBool, JsonBool, Text
from builds.models import Build
from builds.status import Status
from images import naming
from images.catalog import Wanted
from images.models import Image, Logo

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


class LogoSerializer(serializers.ModelSerializer[Logo]):
    logo_id = serializers.UUIDField(source="id", read_only=True)
    logo = serializers.SerializerMethodField()

    class Meta:
        model = Logo
        fields: tuple[str, ...] = ("logo_id", "logo")

    def get_logo(self, logo: Logo) -> str:
        return f"{settings.PUBLIC_URL}/{logo.path}"


class StandingSerializer(serializers.ModelSerializer[Build]):
    """How far an image's current build is."""

    status = serializers.ChoiceField([each.value for each in Status], read_only=True)

    class Meta:
        model = Build
        fields: tuple[str, ...] = ("number", "status", "step", "steps")


class ImageSerializer(serializers.ModelSerializer[Image]):
    """ImageResponse: every key always present."""

    image_id = serializers.UUIDField(source="id", read_only=True)
    status = serializers.CharField(source="build.api_status", read_only=True)
    build_started_at = serializers.DateTimeField(
        source="build.started_at", read_only=True, allow_null=True
    )
    build_completed_at = serializers.SerializerMethodField(help_text="Null until it succeeded.")
    user = UserSerializer(source="owner", read_only=True)
    logo_id = serializers.UUIDField(read_only=True, allow_null=True)
    logo = serializers.SerializerMethodField()
    build = StandingSerializer(read_only=True)
    digest = serializers.SerializerMethodField(help_text="Of the last build that succeeded.")

    class Meta:
        model = Image
        fields: tuple[str, ...] = (
            "image_id",
            "name",
            "readme",
            "tag",
            "public",
            "status",
            "created_at",
            "build_started_at",
            "build_completed_at",
            "user",
            "logo_id",
            "patch_version",
            "logo",
            "protected",
            "build",
            "digest",
        )

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_build_completed_at(self, image: Image) -> Any:
        return image.build.ended_at if image.build.digest else None

    def get_logo(self, image: Image) -> str | None:
        return f"{settings.PUBLIC_URL}/logos/{image.logo_id}.webp" if image.logo_id else None

    def get_digest(self, image: Image) -> str | None:
        return image.target.good.digest if image.target.good else None


class AcceptedStandingSerializer(StandingSerializer):
    position = serializers.SerializerMethodField(help_text="Builds that come before it.")

    class Meta(StandingSerializer.Meta):
        fields: tuple[str, ...] = (*StandingSerializer.Meta.fields, "position")

    def get_position(self, build: Build) -> int:
        return Build.objects.ahead_of(build).count() if build.state is Status.QUEUED else 0


class AcceptedSerializer(ImageSerializer):
    """What a request for a build is answered with."""

    user_id = serializers.UUIDField(source="owner_id", read_only=True)
    build = AcceptedStandingSerializer(read_only=True)

    class Meta(ImageSerializer.Meta):
        fields: tuple[str, ...] = (*ImageSerializer.Meta.fields, "user_id")


class FailureSerializer(serializers.Serializer[Build]):
    """Why a build has no image."""

    fault = serializers.ChoiceField(["user", "service"], source="failure_fault", read_only=True)
    code = serializers.CharField(source="failure_code", read_only=True)
    text = serializers.CharField(source="failure_text", read_only=True)


class BuildSerializer(serializers.ModelSerializer[Build]):
    """One attempt."""

    build_id = serializers.UUIDField(source="id", read_only=True)
    status = serializers.ChoiceField([each.value for each in Status], read_only=True)
    failure = serializers.SerializerMethodField()
    digest = serializers.SerializerMethodField()

    class Meta:
        model = Build
        fields: tuple[str, ...] = (
            "build_id",
            "number",
            "status",
            "step",
            "steps",
            "queued_at",
            "started_at",
            "ended_at",
            "failure",
            "digest",
            "image_bytes",
            "log_lines",
            "log_bytes",
        )
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(FailureSerializer(allow_null=True))
    def get_failure(self, build: Build) -> Any:
        return FailureSerializer(build).data if build.failure_code else None

    def get_digest(self, build: Build) -> str | None:
        return build.digest or None


class DeletedSerializer(serializers.Serializer[Image]):
    image_id = serializers.UUIDField(source="id", read_only=True)
    deleted = serializers.BooleanField(read_only=True)


def _checked(check: Any, value: str) -> str:
    try:
        check(value)
    except naming.BadName as problem:
        raise serializers.ValidationError(str(problem), code="value_error") from problem
    return value
