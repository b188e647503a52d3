"""The Images API over HTTP. Each method reads one queryset or makes one call into the catalog."""

import math
from typing import Any, cast

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException, NotFound, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import AUTHENTICATION, Forbidden, ScopePermission
from accounts.models import User
from builds.logs.follow import BadCursor, Cursor
from builds.models import Build
from builds.status import FINAL
from images import catalog
from images.filters import ImageFilter
from images.models import Image, ImageQuerySet
from images.serializers import OrderSerializer, describe
from images.streams import SSE, events, text

MISSING = "Image not found, or does not belong to you"
OTHER_USER = "Cannot make images for users other than yourself!"


class Conflict(APIException):
    status_code = 409


class ImageViewSet(GenericViewSet[Image]):
    """Images of the caller and public ones of others."""

    authentication_classes = AUTHENTICATION
    permission_classes = (ScopePermission,)
    filterset_class = ImageFilter
    lookup_field = "ref"
    signature_purpose = "images"
    scope_object = "images"
    anonymous_allowed = False

    def get_queryset(self) -> ImageQuerySet:
        return Image.objects.with_build().visible_to(self.request.user)

    def list(self, request: Request) -> Response:
        found = ImageFilter(request.query_params, queryset=self.get_queryset(), request=request)
        if not found.is_valid():
            raise ValidationError(found.errors.as_data())
        page = self.paginate_queryset(found.qs.newest_first())
        return self.get_paginated_response([describe(image) for image in page or []])

    def create(self, request: Request) -> HttpResponseBase:
        form = OrderSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        if form.validated_data["username"] != request.user.username:
            raise Forbidden(OTHER_USER)
        wanted = form.wanted(request.headers.get("X-Chutes-Version", ""))
        try:
            image = catalog.order(
                owner=cast("User", request.user), wanted=wanted, context=form.context
            )
        except catalog.QuotaExceeded as problem:
            raise TooMany(str(problem), problem.retry_after) from problem
        except catalog.NameTaken as problem:
            taken = f"Image with name={wanted.name!r} and tag={wanted.tag!r} already exists"
            raise Conflict(taken) from problem
        if form.validated_data["wait"]:
            return stream(image, Cursor(image.build.number, 0), status=202)
        position = Build.objects.ahead_of(image.build).count()
        answer = describe(image)
        answer |= {"user_id": image.owner_id, "build": {**answer["build"], "position": position}}
        return Response(answer, status=202)

    def retrieve(self, request: Request, ref: str) -> Response:
        return Response(describe(self.meant(ref, tagless=True)))

    def destroy(self, request: Request, ref: str) -> Response:
        owned = self.get_queryset().owned_by(request.user)
        image = self.meant(ref, owned)
        try:
            catalog.delete(image)
        except catalog.Protected as problem:
            raise Conflict("Image is protected; take the protection off first") from problem
        except Image.DoesNotExist as problem:
            raise NotFound(MISSING) from problem
        return Response({"image_id": image.pk, "deleted": True})

    def logs(self, request: Request, ref: str) -> HttpResponseBase:
        image = self.meant(ref)
        resumed = request.headers.get("Last-Event-ID", "")
        cursor = self.cursor(image, resumed or request.query_params.get("offset", ""))
        if resumed and cursor.done:
            # The end was delivered: this is what keeps EventSource from asking again.
            return HttpResponse(status=204)
        build = attempt(image, cursor.attempt)
        if build is None:
            raise bad_offset(f"there is no attempt {cursor.attempt} of this image")
        if SSE in request.headers.get("Accept", "") or build.state not in FINAL:
            return stream(image, cursor)
        connection.close()
        response = StreamingHttpResponse(
            text(image.pk, cursor), content_type="text/plain; charset=utf-8"
        )
        response["Content-Disposition"] = f'inline; filename="{image.pk}.log"'
        return response

    def meant(
        self, ref: str, within: ImageQuerySet | None = None, *, tagless: bool = False
    ) -> Image:
        among = self.get_queryset() if within is None else within
        found = among.meant_by(ref, self.request.user, tagless=tagless)
        if found is None:
            raise NotFound(MISSING)
        self.check_object_permissions(self.request, found)
        return found

    def cursor(self, image: Image, given: str) -> Cursor:
        if not given:
            return Cursor(image.build.number, 0)
        try:
            return Cursor.parse(given)
        except BadCursor as problem:
            raise bad_offset(str(problem)) from problem


class TooMany(Throttled):
    """429 with Retry-After, in the words of the quota."""

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(wait=math.ceil(seconds))
        self.detail = text  # type: ignore[assignment]


def bad_offset(problem: str) -> ValidationError:
    return ValidationError({"offset": [problem]}, code="cursor_parsing")


def attempt(image: Image, number: int) -> Build | None:
    """An attempt that readers of this image may see: the owner's, since the image was made."""
    return Build.objects.filter(
        image_id=image.pk,
        owner_id=image.owner_id,
        number=number,
        queued_at__gte=image.target.created_at,
    ).first()


def stream(image: Image, cursor: Cursor, *, status: int = 200) -> StreamingHttpResponse:
    """The log as it comes. Nothing of the request's database connection is kept meanwhile."""
    connection.close()
    response = StreamingHttpResponse(events(image.pk, cursor), content_type=SSE, status=status)
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


def redirect(request: Any) -> HttpResponse:
    """`/images` without its slash, for any method, before any authentication."""
    response = HttpResponse(status=307)
    response["Location"] = "/images/"
    return response
