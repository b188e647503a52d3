"""The caller's webhooks: list, create, read, change, test, delete, and their deliveries."""

from typing import Any, cast
from uuid import UUID

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import AUTHENTICATION, ScopePermission
from accounts.models import User
from api.filters import PageLimit, PageNumber
from api.media_types import JsonParser
from api.schema import refusals
from api.views import ApiView
from common.error_codes import (
    TEST_WAITING,
    TOO_MANY_WEBHOOKS,
    WEBHOOK_NOT_FOUND,
    CodedError,
)
from webhooks.events import note_test
from webhooks.models import MOST_WEBHOOKS, TEST, Delivery, Webhook, WebhookQuerySet
from webhooks.serializers import (
    CreatedWebhookSerializer,
    DeletedWebhookSerializer,
    DeliverySerializer,
    WebhookFormSerializer,
    WebhookSerializer,
)

BODY_BYTES = 64 * 1024


class PageFilter(django_filters.FilterSet):
    page = PageNumber()
    limit = PageLimit()

    class Meta:
        model = Webhook
        fields: list[str] = []


class WebhookView(ApiView):
    """The caller's webhooks. Operators manage those of the whole instance in the admin."""

    authentication_classes = AUTHENTICATION
    permission_classes = (ScopePermission,)
    parser_classes = (JsonParser,)
    signature_purpose = "webhooks"
    scope_object = "webhooks"
    lookup_field = "webhook_id"
    path_texts = {"webhook_id": "The webhook's id."}
    body_limits = {"POST": BODY_BYTES, "PATCH": BODY_BYTES}
    queries = {"list": PageFilter}

    @property
    def user(self) -> User:
        return cast("User", self.request.user)

    def get_queryset(self) -> WebhookQuerySet:
        return Webhook.objects.owned_by(self.user)

    def found(self, webhook_id: UUID) -> Webhook:
        """One of the caller's webhooks. Raises CodedError."""
        hook = self.get_queryset().filter(pk=webhook_id).first()
        if hook is None:
            raise CodedError(WEBHOOK_NOT_FOUND)
        self.check_object_permissions(self.request, hook)
        return hook

    @extend_schema(
        operation_id="list_webhooks",
        responses=WebhookSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """The caller's webhooks, newest first."""
        hooks = self.filtered(PageFilter, self.get_queryset())
        return self.paged(hooks.order_by("-created_at", "-id"), WebhookSerializer)

    @extend_schema(
        operation_id="create_webhook",
        request=WebhookFormSerializer,
        responses={200: CreatedWebhookSerializer, **refusals(TOO_MANY_WEBHOOKS)},
    )
    def create(self, request: Request) -> Response:
        """Creates a webhook. The answer has the secret that signs what is sent; it is not shown
        again."""
        form = WebhookFormSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        if self.get_queryset().count() >= MOST_WEBHOOKS:
            raise CodedError(TOO_MANY_WEBHOOKS, limit=MOST_WEBHOOKS)
        hook = Webhook.objects.create(owner=self.user, **form.validated_data)
        return Response(CreatedWebhookSerializer(hook).data, headers={"Cache-Control": "no-store"})

    @extend_schema(operation_id="get_webhook", responses=WebhookSerializer)
    def retrieve(self, request: Request, webhook_id: UUID) -> Response:
        """One of the caller's webhooks, without its secret."""
        return Response(WebhookSerializer(self.found(webhook_id)).data)

    @extend_schema(
        operation_id="change_webhook",
        request=WebhookFormSerializer(partial=True),
        responses={200: WebhookSerializer},
    )
    def partial_update(self, request: Request, webhook_id: UUID) -> Response:
        """Changes a webhook: only fields that are sent change."""
        hook = self.found(webhook_id)
        form = WebhookFormSerializer(data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        changes: dict[str, Any] = form.validated_data
        if changes and not self.get_queryset().filter(pk=hook.pk).update(**changes):
            raise CodedError(WEBHOOK_NOT_FOUND)
        return Response(WebhookSerializer(self.found(webhook_id)).data)

    @extend_schema(operation_id="delete_webhook", responses={200: DeletedWebhookSerializer})
    def destroy(self, request: Request, webhook_id: UUID) -> Response:
        """Deletes a webhook, with deliveries that are not sent yet."""
        hook = self.found(webhook_id)
        self.get_queryset().filter(pk=hook.pk).delete()
        return Response({"webhook_id": webhook_id, "deleted": True})


class TestView(WebhookView):
    body_limits = {}

    @extend_schema(
        operation_id="test_webhook",
        request=None,
        responses={202: DeliverySerializer, **refusals(TEST_WAITING)},
    )
    def create(self, request: Request, webhook_id: UUID) -> Response:  # type: ignore[override]
        """Sends a `test` event, whatever events the webhook has."""
        hook = self.found(webhook_id)
        if hook.deliveries.filter(event=TEST, due_at__isnull=False).exists():
            raise CodedError(TEST_WAITING)
        return Response(DeliverySerializer(note_test(hook)).data, status=202)


class DeliveriesView(WebhookView):
    body_limits = {}

    @extend_schema(
        operation_id="list_deliveries",
        responses=DeliverySerializer(many=True),
    )
    def list(self, request: Request, webhook_id: UUID) -> Response:  # type: ignore[override]
        """Deliveries of a webhook, sent or waiting, newest first, for two weeks."""
        sent = Delivery.objects.filter(webhook=self.found(webhook_id)).newest_first()
        return self.paged(self.filtered(PageFilter, sent), DeliverySerializer)
