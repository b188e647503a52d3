"""Where every address leads."""

from django.contrib import admin
from django.urls import include, path

from config import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("", include("images.urls")),
]
handler404 = "config.api.not_found"
handler500 = "config.api.crashed"
handler400 = "config.api.bad_request"
handler403 = "config.api.forbidden"
