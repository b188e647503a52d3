"""What an owner keeps: rules that delete images, and the room that images take."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from api.media_types import JsonParser
from api.strict_serializers import StrictSerializer
from images import quota, retention
from images.models import RetentionRule
from images.rest.base import ImageView

LONGEST_DAYS = 3_650


class RuleSerializer(StrictSerializer, serializers.ModelSerializer[RetentionRule]):
    """Deletes images of one name that are older than so many days, except the newest."""

    name = serializers.CharField(
        allow_blank=True,
        max_length=65,
        help_text="Blank for every name that has no rule of its own.",
    )
    keep_last = serializers.IntegerField(min_value=0, allow_null=True, default=None)
    expire_days = serializers.IntegerField(
        min_value=1, max_value=LONGEST_DAYS, allow_null=True, default=None
    )

    class Meta:
        model = RetentionRule
        fields = ("name", "keep_last", "expire_days")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("keep_last") is None and data.get("expire_days") is None:
            raise serializers.ValidationError("A rule names keep_last, expire_days, or both.")
        return data


class RulesSerializer(StrictSerializer):
    """All rules of an owner."""

    rules = RuleSerializer(many=True)

    def validate_rules(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(rules) > retention.MOST_RULES:
            raise serializers.ValidationError(f"There are at most {retention.MOST_RULES} rules.")
        if len({rule["name"].lower() for rule in rules}) < len(rules):
            raise serializers.ValidationError("There is one rule for a name.")
        return rules


class UsageSerializer(serializers.Serializer[Any]):
    """Room in the registry, in compressed bytes."""

    used_bytes = serializers.IntegerField(read_only=True)
    limit_bytes = serializers.IntegerField(read_only=True, allow_null=True)


class RetentionView(ImageView):
    parser_classes = (JsonParser,)
    body_limits = {"PATCH": 64 * 1024}

    @extend_schema(operation_id="get_retention", responses=RulesSerializer)
    def retrieve(self, request: Request) -> Response:
        """The rules that delete the caller's images. They are applied every hour."""
        return Response(RulesSerializer({"rules": retention.rules_of(self.user)}).data)

    @extend_schema(operation_id="set_retention", request=RulesSerializer, responses=RulesSerializer)
    def partial_update(self, request: Request) -> Response:
        """Replaces all rules. Protected images and images that are being built are not deleted."""
        form = RulesSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rules = [retention.Rule(**rule) for rule in form.validated_data["rules"]]
        retention.set_rules(self.user, rules)
        return self.retrieve(request)


class UsageView(ImageView):
    @extend_schema(operation_id="get_storage", responses=UsageSerializer)
    def retrieve(self, request: Request) -> Response:
        """The room that the last good builds of the caller's images take, and the limit."""
        used, limit = quota.storage_used(self.user), quota.storage_limit(self.user)
        return Response({"used_bytes": used, "limit_bytes": limit})
