"""Images and their builds as clients see them (the bodies of the Chutes Images API)."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.serializers import UserSerializer
from builds.conf import build_settings
from builds.models import Build
from builds.status import Status
from images.models import Image, Logo
from images.rest.queued import queue_facts

WAITING_FOR = (
    "What the attempt before lacked, such as `waiting for the registry: …`; empty otherwise."
)

EXIT_CODE = "Of the command that failed; null where none did."
DURATION = "From start to end, in milliseconds; null before the end."


class LogoSerializer(serializers.ModelSerializer[Logo]):
    logo_id = serializers.UUIDField(source="id", read_only=True)
    logo = serializers.SerializerMethodField()
    path = serializers.SerializerMethodField(help_text="Leads to it, by a redirect.")

    class Meta:
        model = Logo
        fields: tuple[str, ...] = ("logo_id", "logo", "path")

    def get_logo(self, logo: Logo) -> str:
        return f"{settings.PUBLIC_URL}/{logo.path}"

    def get_path(self, logo: Logo) -> str:
        return f"/logos/{logo.pk}.png"


class GoodBuildSerializer(serializers.Serializer[Image]):
    """The last build that succeeded: the references of the image lead to it."""

    number = serializers.IntegerField(source="good.number", read_only=True)
    digest = serializers.CharField(source="good.digest", read_only=True)
    ended_at = serializers.DateTimeField(source="good.ended_at", read_only=True)
    image_bytes = serializers.IntegerField(source="good_bytes", read_only=True)
    duration_ms = serializers.IntegerField(source="good_ms", read_only=True)


class StandingSerializer(serializers.ModelSerializer[Build]):
    """The progress of an image's current build."""

    status = serializers.ChoiceField([each.value for each in Status], read_only=True)
    waiting_for = serializers.CharField(read_only=True, help_text=WAITING_FOR)
    exit_code = serializers.IntegerField(read_only=True, allow_null=True, help_text=EXIT_CODE)
    ended_at = serializers.DateTimeField(read_only=True, allow_null=True)
    duration_ms = serializers.IntegerField(read_only=True, allow_null=True, help_text=DURATION)

    class Meta:
        model = Build
        fields: tuple[str, ...] = (
            "number",
            "status",
            "step",
            "steps",
            "waiting_for",
            "exit_code",
            "ended_at",
            "duration_ms",
        )


class ImageSerializer(serializers.ModelSerializer[Image]):
    """ImageResponse: every key is always present."""

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
    registry = serializers.SerializerMethodField(help_text="Its host, with the port if it has one.")
    reference = serializers.SerializerMethodField(
        help_text="What to pull, by tag. There is something once a build succeeded."
    )
    reference_by_digest = serializers.SerializerMethodField(
        help_text="What to pull, by the digest of the last build that succeeded."
    )
    good_build = serializers.SerializerMethodField(
        help_text="The last build that succeeded, whatever became of later ones: what can be "
        "pulled. Null before the first."
    )

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
            "registry",
            "reference",
            "reference_by_digest",
            "good_build",
        )

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_build_completed_at(self, image: Image) -> Any:
        return image.build.ended_at if image.build.digest else None

    def get_logo(self, image: Image) -> str | None:
        return f"{settings.PUBLIC_URL}/logos/{image.logo_id}.webp" if image.logo_id else None

    def get_digest(self, image: Image) -> str | None:
        return image.good.digest if image.good else None

    def get_registry(self, image: Image) -> str:
        return build_settings().registry

    def get_reference(self, image: Image) -> str:
        return f"{build_settings().registry}/{image.repository}:{image.tag}"

    def get_reference_by_digest(self, image: Image) -> str | None:
        if image.good is None:
            return None
        return f"{build_settings().registry}/{image.repository}@{image.good.digest}"

    @extend_schema_field(GoodBuildSerializer(allow_null=True))
    def get_good_build(self, image: Image) -> Any:
        return GoodBuildSerializer(image).data if image.good else None


class StepSerializer(serializers.Serializer[Build]):
    """One step of a build: an instruction of the Dockerfile."""

    number = serializers.IntegerField(help_text="Counted from 1 over all stages.")
    stage = serializers.CharField(help_text="Empty where the Dockerfile has a single stage.")
    dockerfile_line = serializers.IntegerField(help_text="Where it starts, from 1.")
    text = serializers.CharField(help_text="The instruction, at most 300 characters.")
    state = serializers.ChoiceField(
        ["waiting", "running", "cached", "succeeded", "failed", "cancelled"],
        help_text="Of a build that has ended, `waiting` means that it was not reached.",
    )
    started = serializers.IntegerField(
        allow_null=True, help_text="In microseconds since 1970, as in logs."
    )
    ended = serializers.IntegerField(allow_null=True)


class EstimateSerializer(serializers.Serializer[Any]):
    """When a waiting build will probably start: 8 of 10 builds start within this range."""

    low_seconds = serializers.IntegerField(help_text="From now.")
    high_seconds = serializers.IntegerField(help_text="From now.")
    text = serializers.CharField(help_text="The same in words.")


class ReasonSerializer(serializers.Serializer[Any]):
    """Why a build waits."""

    code = serializers.CharField(help_text="Such as `busy`, `paused` or `no-worker`.")
    text = serializers.CharField(help_text="A sentence for people.")


class DetailStandingSerializer(StandingSerializer):
    """The progress of an image's current build, step by step, and why it waits."""

    position = serializers.IntegerField(
        read_only=True,
        allow_null=True,
        help_text="In the queue, from 1; null where it does not wait or nobody knows.",
    )
    estimate = EstimateSerializer(
        read_only=True, allow_null=True, help_text="Null where it does not wait or nobody knows."
    )
    reasons = ReasonSerializer(
        many=True, read_only=True, help_text="The most important first; none if it does not wait."
    )
    step_list = StepSerializer(source="step_facts", many=True, read_only=True)

    class Meta(StandingSerializer.Meta):
        fields: tuple[str, ...] = (
            *StandingSerializer.Meta.fields,
            *("position", "estimate", "reasons", "step_list"),
        )

    def to_representation(self, build: Build) -> Any:
        for name, value in queue_facts(build.pk, build.status).items():
            setattr(build, name, value)
        return super().to_representation(build)


class ImageDetailSerializer(ImageSerializer):
    """A single image."""

    build = DetailStandingSerializer(read_only=True)


class AcceptedSerializer(ImageSerializer):
    """The answer to a request for a build."""

    user_id = serializers.UUIDField(source="owner_id", read_only=True)

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
    target = serializers.CharField(
        read_only=True, help_text="The stage that was asked for; empty for the last one."
    )
    labels = serializers.DictField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Those that were sent, without the Dockerfile's own.",
    )
    resource_class = serializers.CharField(
        read_only=True, help_text="How much it may use: `default`, or a name that operators give."
    )
    status = serializers.ChoiceField([each.value for each in Status], read_only=True)
    waiting_for = serializers.CharField(read_only=True, help_text=WAITING_FOR)
    exit_code = serializers.IntegerField(read_only=True, allow_null=True, help_text=EXIT_CODE)
    duration_ms = serializers.IntegerField(read_only=True, allow_null=True, help_text=DURATION)
    failure = serializers.SerializerMethodField()
    digest = serializers.SerializerMethodField()
    step_list = StepSerializer(source="step_facts", many=True, read_only=True)

    class Meta:
        model = Build
        fields: tuple[str, ...] = (
            "build_id",
            "number",
            "status",
            "step",
            "steps",
            "step_list",
            "target",
            "no_cache",
            "pull",
            "labels",
            "resource_class",
            "queued_at",
            "started_at",
            "ended_at",
            "duration_ms",
            "waiting_for",
            "exit_code",
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
