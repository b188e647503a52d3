"""Routes of HTTP requests."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView

from api import openapi
from observability import health, metrics
from registry_gateway.token_endpoint import RegistryToken

urlpatterns = [
    path("admin/", admin.site.urls),
    path("healthz", health.AliveView.as_view({"get": "retrieve"})),
    path("ping", health.PingView.as_view({"get": "retrieve"})),
    path("metrics", metrics.view),
    path("readyz", health.ReadyView.as_view({"get": "retrieve"})),
    path("openapi.json", openapi.DescriptionView.as_view({"get": "retrieve"})),
    path("docs", openapi.DocsView.as_view({"get": "retrieve"})),
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("pages/favicon.ico"))),
    path("registry/token", RegistryToken.as_view()),
    path("", include("accounts.urls")),
    path("", include("webhooks.urls")),
    path("", include("images.urls")),
]
handler404 = "images.pages.errors.not_found"
handler500 = "images.pages.errors.crashed"
handler400 = "images.pages.errors.bad_request"
handler403 = "images.pages.errors.forbidden"
