"""Images as clients send and see them (the Chutes Images API's bodies)."""

import json
from typing import Any
from uuid import UUID

from django.core.files import File
from rest_framework import serializers

from images import naming
from images.catalog import Wanted
from images.forms import BoolField
from images.models import Image

NO_LOGO = frozenset({"", "__none__"})
DOCKERFILE_CHARACTERS = 1024 * 1024


class OrderSerializer(serializers.Serializer[Any]):
    """The form of `POST /images/`, in its order of declaration."""

    wait = BoolField()
    build_context = serializers.FileField(allow_empty_file=True)
    username = serializers.CharField()
    name = serializers.CharField(trim_whitespace=False)
    readme = serializers.CharField(allow_blank=True, trim_whitespace=False)
    logo_id = serializers.CharField(allow_blank=True)
    tag = serializers.CharField(trim_whitespace=False)
    dockerfile = serializers.CharField(trim_whitespace=False, max_length=DOCKERFILE_CHARACTERS)
    image = serializers.CharField(allow_blank=True)
    """The command line's pickle: asked for because it is sent, and thrown away unread."""
    public = BoolField()
    build_args = serializers.CharField(required=False, allow_blank=True)

    def validate_name(self, value: str) -> str:
        return _checked(naming.check_name, value)

    def validate_tag(self, value: str) -> str:
        return _checked(naming.check_tag, value)

    def validate_logo_id(self, value: str) -> UUID | None:
        if value in NO_LOGO:
            return None
        try:
            return UUID(value)
        except ValueError:
            raise serializers.ValidationError(
                "is not an id of a logo", code="uuid_parsing"
            ) from None

    def validate_build_args(self, value: str) -> dict[str, str]:
        try:
            found = json.loads(value or "{}")
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            text = 'takes a JSON object of strings, such as {"PYTHON": "3.12"}'
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
            logo_id=data["logo_id"],
            build_args=data.get("build_args", {}),
            chutes_version=chutes_version[:40],
        )

    @property
    def context(self) -> "File[bytes]":  # type: ignore[override]
        found: File[bytes] = self.validated_data["build_context"]
        return found


def _checked(check: Any, value: str) -> str:
    try:
        check(value)
    except naming.BadName as problem:
        raise serializers.ValidationError(str(problem), code="value_error") from problem
    return value


def describe(image: Image) -> dict[str, Any]:
    """ImageResponse: every key always present."""
    build = image.build
    return {
        "image_id": image.pk,
        "name": image.name,
        "readme": image.readme,
        "tag": image.tag,
        "public": image.public,
        "status": build.api_status,
        "created_at": image.created_at,
        "build_started_at": build.started_at,
        "build_completed_at": build.ended_at if build.digest else None,
        "user": {
            "username": image.owner.username,
            "user_id": image.owner.pk,
            "logo_id": None,
            "created_at": image.owner.created_at,
            "logo": None,
        },
        "logo_id": image.logo_id,
        "patch_version": image.patch_version,
        "logo": None,
        "protected": image.protected,
        "build": {
            "number": build.number,
            "status": build.status,
            "step": build.step,
            "steps": build.steps,
        },
        "digest": image.target.good.digest if image.target.good else None,
    }
