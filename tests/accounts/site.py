"""A site with nothing but a view of each kind, to try who gets in."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import AUTHENTICATION, ScopePermission
from api.multipart_forms import MultipartParser


class Thing:
    def __init__(self, pk: UUID) -> None:
        self.pk = pk


class Things(GenericViewSet[Any]):
    authentication_classes = AUTHENTICATION
    permission_classes = [ScopePermission]
    parser_classes = [MultipartParser]
    lookup_field = "ref"
    signature_purpose: str | None = "images"
    scope_object: str | None = "images"
    anonymous_allowed = False

    def many(self, request: Request) -> Response:
        files = {name: each.size for name, each in request.FILES.items()}
        return Response({"user": request.user.username, "files": files})

    def one(self, request: Request, ref: UUID) -> Response:
        self.check_object_permissions(request, Thing(ref))
        return Response({"user": request.user.username})

    def logs(self, request: Request, ref: UUID) -> Response:
        self.check_object_permissions(request, Thing(ref))
        return Response({"user": request.user.username})


class Plain(Things):
    """Says nothing of purpose or scope."""

    signature_purpose = None
    scope_object = None


urlpatterns = [
    path("admin/", admin.site.urls),
    path("things/", Things.as_view({"get": "many", "post": "many", "delete": "many"})),
    path("things/<uuid:ref>", Things.as_view({"get": "one", "delete": "one", "post": "one"})),
    path("things/<uuid:ref>/logs", Things.as_view({"get": "logs"}, anonymous_allowed=True)),
    path("plain/", Plain.as_view({"get": "many", "post": "many"})),
]
