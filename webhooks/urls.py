"""URLs of webhooks."""

from typing import Any

from django.urls import path

from webhooks.views import DeliveriesView, TestView, WebhookView

ONE: dict[str, Any] = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}

urlpatterns = [
    path("webhooks/", WebhookView.as_view({"get": "list", "post": "create"})),
    path("webhooks/<uuid:webhook_id>", WebhookView.as_view(ONE)),
    path("webhooks/<uuid:webhook_id>/test", TestView.as_view({"post": "create"})),
    path("webhooks/<uuid:webhook_id>/deliveries", DeliveriesView.as_view({"get": "list"})),
]
