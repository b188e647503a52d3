"""Where every address leads."""

from django.contrib import admin
from django.urls import include, path

from config import health, metrics, openapi
from images.registry import RegistryToken

urlpatterns = [
    path("admin/", admin.site.urls),
    path("healthz", health.AliveView.as_view({"get": "retrieve"})),
    path("metrics", metrics.view),
    path("readyz", health.ReadyView.as_view({"get": "retrieve"})),
    path("openapi.json", openapi.DescriptionView.as_view({"get": "retrieve"})),
    path("docs", openapi.DocsView.as_view({"get": "retrieve"})),
    path("registry/token", RegistryToken.as_view()),
    path("", include("accounts.urls")),
    path("", include("images.urls")),
]
handler404 = "api.errors.not_found"
handler500 = "api.errors.crashed"
handler400 = "api.errors.bad_request"
handler403 = "api.errors.forbidden"
