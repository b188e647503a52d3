"""Webhooks in the admin: operators make those of the whole instance, and view and stop all
others."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from operators.changelists import BoundedAdmin
from webhooks.events import note_test
from webhooks.models import Delivery, Webhook

SHOWN = 50


class DeliveryInline(admin.TabularInline[Delivery, Webhook]):
    """The latest deliveries."""

    model = Delivery
    fields = ("event", "state", "attempts", "status_code", "error", "created_at", "tried_at")
    readonly_fields = fields
    extra = max_num = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> Any:
        found = Delivery.objects.newest_first()
        if request.resolver_match is None or "object_id" not in request.resolver_match.kwargs:
            return found
        of_one = found.filter(webhook_id=request.resolver_match.kwargs["object_id"])
        newest = list(of_one.values_list("pk", flat=True)[:SHOWN])
        return found.filter(pk__in=newest)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("webhooks.view_webhook")


@admin.register(Webhook)
class WebhookAdmin(BoundedAdmin):
    list_display = ("__str__", "whose", "events", "active", "created_at", "tried_at")
    list_filter = ("active",)
    list_select_related = ("owner",)
    search_fields = ("url", "owner__username")
    searches = "A part of the URL or of the owner's name."
    ordering = ("-created_at", "-id")
    inlines = (DeliveryInline,)
    actions = ("send_test",)
    fields = ("owner", "url", "events", "active", "secret", "created_at")
    readonly_fields = ("owner", "secret", "created_at")

    @admin.display(description="owner", ordering="owner__username")
    def whose(self, hook: Webhook) -> str:
        return hook.owner.username if hook.owner else "whole instance"

    def get_fields(self, request: HttpRequest, obj: Webhook | None = None) -> Any:
        """Shows the secret of webhooks of the instance: operators have no other way to see it."""
        if obj is None:
            return ("url", "events", "active")
        if obj.owner is None and self.has_change_permission(request, obj):
            return self.fields
        return ("owner", "url", "events", "active", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Webhook | None = None) -> Any:
        """For users' webhooks only `active` can be changed."""
        if obj is not None and obj.owner is not None:
            return (*self.readonly_fields, "url", "events")
        return self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Webhook | None) -> Any:
        return self.inlines if obj is not None else ()

    @admin.action(description="Send a test", permissions=["change"])
    def send_test(self, request: HttpRequest, hooks: Any) -> None:
        for hook in hooks:
            note_test(hook)
        messages.info(request, "A test is sent within seconds: the page of the webhook shows it.")
