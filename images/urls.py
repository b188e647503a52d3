"""Addresses of images. A reference may hold slashes, so what follows it is matched first."""

from django.urls import path, re_path

from images.views import ImageViewSet, redirect

urlpatterns = [
    path("images", redirect),
    path("images/", ImageViewSet.as_view({"get": "list", "post": "create"})),
    re_path(
        r"^images/(?P<ref>.+)/logs$", ImageViewSet.as_view({"get": "logs"}, anonymous_allowed=True)
    ),
    re_path(
        r"^images/(?P<ref>.+)$", ImageViewSet.as_view({"get": "retrieve", "delete": "destroy"})
    ),
]
