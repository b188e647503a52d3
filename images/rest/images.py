"""Images themselves: listed, made, looked at, described again, deleted."""

import sys
from functools import partial

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import Forbidden
from accounts.models import User
from api.exceptions import Conflict
from api.filters import DEFAULT_LIMIT
from api.media_types import JSON_BYTES, FormParser, JsonParser
from api.pagination import envelope
from api.schema import query_parameters
from api.views import narrowed
from builds.logs.cursor import Cursor
from images import catalog
from images.filters import ImageFilter
from images.list_totals import total_of
from images.live.sse import EVENT, SSE
from images.models import Image
from images.rest import rows
from images.rest.base import MISSING, ImageView, accepted, quota_refusals
from images.rest.logs import stream
from images.rest.serializers import (
    AcceptedSerializer,
    ChangeSerializer,
    DeletedSerializer,
    ImageDetailSerializer,
    ImageSerializer,
    OrderSerializer,
)

OTHER_USER = "Cannot make images for users other than yourself!"
NOT_YOURS_TO_PROTECT = "Only operators protect images, or take the protection off"


class ManyView(ImageView):
    parser_classes = (FormParser,)
    body_limits = {"POST": sys.maxsize}
    """As much as SLIPWAY_MAX_BODY_MB lets anybody send."""

    @staticmethod
    def check_before_body(method: str, caller: User) -> None:
        """Raises TooMany where the body would be sent in vain."""
        if method == "POST":
            with quota_refusals():
                catalog.check_quota(caller)

    @extend_schema(
        operation_id="list_images",
        parameters=query_parameters(ImageFilter),
        responses=ImageSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """The caller's images, and others' public ones where asked for."""
        asked = self.asked(ImageFilter)
        size = asked["limit"] or DEFAULT_LIMIT
        start = asked["page"] * size
        found: rows.Page
        if not ImageFilter.narrows(asked):
            page = rows.visible_page if asked["include_public"] else rows.own_page
            found = page(self.user, start, size)
        else:
            images = self.get_queryset() if asked["include_public"] else self.owned_images()
            narrow = partial(narrowed, ImageFilter, asked=asked)
            listed = narrow(images.newest_first())
            total = total_of(self.user.pk, asked, narrow, listed)
            found = rows.page(listed, total, start, size)
        items = [rows.body(row) for row in found.rows]
        told = {"total": found.total, "page": asked["page"], "limit": asked["limit"]}
        return Response(envelope(items, **told))

    @extend_schema(
        operation_id="create_image",
        request={"multipart/form-data": OrderSerializer},
        responses={
            202: AcceptedSerializer,
            (202, SSE): EVENT,
            409: "There is an image of that name and tag, and it is not one that failed.",
            429: "The caller's builds for 24 hours are used up.",
        },
    )
    def create(self, request: Request) -> HttpResponseBase:
        """Orders a build: of a new image, or again of one that failed or was cancelled.

        With `replace` also again of one that succeeded. Name, tag and a Dockerfile are enough.
        """
        form = OrderSerializer(data=request.data, context={"owner": self.user})
        form.is_valid(raise_exception=True)
        if form.validated_data.get("username", self.user.username) != self.user.username:
            raise Forbidden(OTHER_USER)
        wanted = form.wanted(request.headers.get("X-Chutes-Version", ""))
        try:
            with quota_refusals():
                image = catalog.order(owner=self.user, wanted=wanted, context=form.archive)
        except catalog.NameTaken as problem:
            taken = f"Image with name={wanted.name!r} and tag={wanted.tag!r} already exists"
            if wanted.replace:
                taken += ", and its build has not ended: cancel it, or wait for its end"
            raise Conflict(taken) from problem
        if form.validated_data.get("wait"):
            cursor = Cursor(image.build.number, 0)
            return stream(request, image, cursor, self.caller, status=202)
        return accepted(rows.accepted(image))


class OneView(ImageView):
    parser_classes = (JsonParser,)
    body_limits = {"PATCH": JSON_BYTES}

    @extend_schema(operation_id="get_image", responses=ImageDetailSerializer)
    def retrieve(self, request: Request, ref: str) -> Response:
        """One image."""
        found = rows.find(ref, self.user, tagless=True)
        if found is None:
            raise NotFound(MISSING)
        self.check_object_permissions(request, rows.Named(found[0]))
        return Response(rows.detail(found))

    @extend_schema(
        operation_id="change_image", request=ChangeSerializer, responses={200: ImageSerializer}
    )
    def partial_update(self, request: Request, ref: str) -> Response:
        """Describes an image again: only what is sent changes."""
        image = self.meant(ref, self.changeable())
        form = ChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            changed = catalog.change(image, by=self.user, **form.validated_data)
        except catalog.OperatorsOnly as problem:
            raise Forbidden(NOT_YOURS_TO_PROTECT) from problem
        except Image.DoesNotExist as problem:
            raise NotFound(MISSING) from problem
        return Response(ImageSerializer(changed).data)

    @extend_schema(
        operation_id="delete_image",
        responses={200: DeletedSerializer, 409: "The image is protected."},
    )
    def destroy(self, request: Request, ref: str) -> Response:
        """Deletes one of the caller's images, by id or with its tag, and ends its build."""
        image = self.owned(ref)
        try:
            catalog.delete(image)
        except catalog.Protected as problem:
            raise Conflict("Image is protected; take the protection off first") from problem
        except Image.DoesNotExist as problem:
            raise NotFound(MISSING) from problem
        return Response({"image_id": image.pk, "deleted": True})
