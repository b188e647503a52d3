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
handler404 = "config.errors.not_found"
handler500 = "config.errors.crashed"
handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
