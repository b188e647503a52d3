"""The calling user, with the rest of their quota."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.serializers import MeSerializer
from accounts.views import AccountView
from images.quota import Quota, quota_of


class QuotaSerializer(serializers.Serializer[Quota]):
    """Builds within 24 hours."""

    limit = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Null where there is no limit."
    )
    used = serializers.IntegerField(read_only=True, help_text="Deleting images refunds none.")
    remaining = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Null where there is no limit."
    )
    reset_seconds = serializers.IntegerField(
        read_only=True, help_text="Until the oldest of them no longer counts; 0 without any."
    )


class MeWithQuotaSerializer(MeSerializer):
    """A user, as that user sees it."""

    quota = serializers.SerializerMethodField(help_text="Builds within 24 hours.")

    class Meta(MeSerializer.Meta):
        fields: tuple[str, ...] = (*MeSerializer.Meta.fields, "quota")
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(QuotaSerializer)
    def get_quota(self, user: User) -> Any:
        return QuotaSerializer(self.context["quota"]).data


class MeView(AccountView):
    signature_purpose = "me"
    any_key = True

    @extend_schema(operation_id="who_am_i", responses=MeWithQuotaSerializer)
    def retrieve(self, request: Request) -> Response:
        """The caller, with the rest of the quota."""
        quota = quota_of(self.user)
        told = MeWithQuotaSerializer(self.user, context={"quota": quota})
        return Response(told.data, headers=quota.headers)
