"""Images: list, create, read, change, delete."""

import sys

from django.db import transaction
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiRequest, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from api.etags import check_match, etag_of
from api.exceptions import Invalid
from api.fields import QueryInt
from api.media_types import JSON_BYTES, JsonParser, JsonRenderer
from api.multipart_forms import MultipartParser
from api.pagination import envelope
from api.schema import refusals
from builds.logs.cursor import Cursor
from builds.status import FINAL
from common.error_codes import (
    BUILD_UNDER_WAY,
    IMAGE_NOT_FOUND,
    IMAGE_PROTECTED,
    NAME_TAKEN,
    NOT_YOUR_NAME,
    QUOTA_EXCEEDED,
    STORAGE_EXCEEDED,
    CodedError,
)
from images import catalog
from images.filters import ImageFilter
from images.live.sse import EVENT, SSE
from images.models import Image
from images.quota import check_quota
from images.rest import rows
from images.rest.base import ImageView, ordered
from images.rest.idempotency import HEADER, once
from images.rest.listing import link_to_next, listing
from images.rest.logs import stream
from images.rest.serializers import (
    AcceptedSerializer,
    ChangeSerializer,
    DeletedSerializer,
    ImageDetailSerializer,
    ImageSerializer,
    OrderSerializer,
    checked_order,
    wanted,
)
from images.rest.waiting import MOST_SECONDS, wait_for_change

AS_JSON = {name: {"contentType": "application/json"} for name in ("build_args", "labels")}
"""Form fields whose values are JSON."""


class ManyView(ImageView):
    parser_classes = (MultipartParser,)
    body_limits = {"POST": sys.maxsize}
    """As much as SLIPWAY_MAX_BODY_MB allows for every request."""
    queries = {"list": ImageFilter}

    @staticmethod
    def check_before_body(method: str, caller: User) -> None:
        """Raises CodedError if the request would be refused whatever its body is."""
        if method == "POST":
            check_quota(caller)

    @extend_schema(
        operation_id="list_images",
        responses=ImageSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """The caller's images and, on request, the public images of others.

        `Link` in the answer leads to the next page by a cursor. When images are added or deleted
        meanwhile, no row is left out or repeated, unless its own place in the order changes.
        """
        asked = self.query()
        found = listing(self.user, asked)
        items = [rows.body(row) for row in found.rows]
        told = {"total": found.total, "page": asked["page"], "limit": asked["limit"]}
        links = {"Link": link_to_next(request, found.following)} if found.following else {}
        return Response(envelope(items, **told), headers=links)

    @extend_schema(
        operation_id="create_image",
        request={"multipart/form-data": OpenApiRequest(OrderSerializer, encoding=AS_JSON)},
        responses={
            202: AcceptedSerializer,
            (202, SSE): EVENT,
            **refusals(NAME_TAKEN, BUILD_UNDER_WAY, QUOTA_EXCEEDED, STORAGE_EXCEEDED),
        },
    )
    def create(self, request: Request) -> HttpResponseBase:
        """Requests a build of a new image, or again of one that failed or was cancelled.

        With `replace` also of one that succeeded. Name, tag and a Dockerfile are enough.
        """
        values = checked_order(request.data, self.user)
        if values.get("username", self.user.username) != self.user.username:
            raise CodedError(NOT_YOUR_NAME)
        asked = wanted(values, request.headers.get("X-Chutes-Version", ""))

        def order() -> Image:
            return catalog.order(owner=self.user, wanted=asked, context=values.get("build_context"))

        if values.get("wait"):
            if HEADER in request.headers:
                raise Invalid("value_error", f"{HEADER} does not go with it", "body", "wait")
            image = order()
            cursor = Cursor(image.build.number, 0)
            return stream(request, image, cursor, self.caller, status=202)
        return once(request, self.user, lambda: ordered(order(), self.user))


WAIT = {
    "wait": QueryInt(
        default=0,
        least=0,
        most=MOST_SECONDS,
        help_text="Seconds to wait for the status of its build to change.",
    )
}


class OneView(ImageView):
    parser_classes = (JsonParser,)
    body_limits = {"PATCH": JSON_BYTES}
    queries = {"retrieve": WAIT}

    @extend_schema(operation_id="get_image", responses=ImageDetailSerializer)
    def retrieve(self, request: Request, ref: str) -> HttpResponseBase:
        """One image; with `wait`, when the status of its build changes or after that time.

        For a build that has ended the answer comes at once, because nothing changes any more.
        """
        seconds: int = self.query()["wait"]
        found = rows.find(ref, self.user, tagless=True)
        if found is None:
            raise CodedError(IMAGE_NOT_FOUND)
        image_id = found[0]
        self.check_object_permissions(request, rows.Named(image_id))
        number, status = rows.standing(found)
        if seconds and status not in FINAL and request.method == "GET":
            return wait_for_change(self.caller, self.user, image_id, number, status, seconds)
        response = Response(rows.detail(found))
        response["ETag"] = etag_of(JsonRenderer().render(response.data))
        known: HttpResponseBase | None = get_conditional_response(
            request, response["ETag"], response=response
        )
        return known or response

    @extend_schema(
        operation_id="change_image", request=ChangeSerializer, responses={200: ImageSerializer}
    )
    def partial_update(self, request: Request, ref: str) -> Response:
        """Changes the description of an image: only fields that are sent change."""
        image = self.meant(ref, self.changeable())
        form = ChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        with transaction.atomic():
            self._check_match(request, image)
            changed = catalog.change(image, by=self.user, **form.validated_data)
        return Response(ImageSerializer(changed).data)

    @staticmethod
    def _check_match(request: Request, image: Image) -> None:
        """Raises CodedError if `If-Match` names another state. The row stays locked until the
        commit."""
        if "If-Match" not in request.headers:
            return
        Image.objects.select_for_update(of=("self",)).get(pk=image.pk)
        if (found := rows.by_id(image.pk)) is not None:
            now = etag_of(JsonRenderer().render(rows.detail(found)))
            check_match(request.headers["If-Match"], now)

    @extend_schema(
        operation_id="delete_image",
        responses={200: DeletedSerializer, **refusals(IMAGE_PROTECTED)},
    )
    def destroy(self, request: Request, ref: str) -> Response:
        """Deletes one of the caller's images, by id or with its tag, and cancels its build."""
        image = self.owned(ref)
        catalog.delete(image)
        return Response({"image_id": image.pk, "deleted": True})
