"""The attempts of an image: list, read, cancel, rebuild."""

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from api.media_types import JSON_BYTES, JsonParser
from api.schema import refusals
from common.error_codes import (
    ATTEMPT_NOT_FOUND,
    BUILD_UNDER_WAY,
    CONTEXT_GONE,
    NOTHING_UNDER_WAY,
    QUOTA_EXCEEDED,
    STORAGE_EXCEEDED,
    CodedError,
)
from images import catalog
from images.filters import BuildFilter
from images.rest.base import ImageView, accepted, ordered
from images.rest.idempotency import once
from images.rest.serializers import (
    AcceptedSerializer,
    BuildSerializer,
    ImageSerializer,
    RebuildSerializer,
)

DIGITS = 9


class BuildsView(ImageView):
    queries = {"list": BuildFilter}

    @extend_schema(operation_id="list_builds", responses=BuildSerializer(many=True))
    def list(self, request: Request, ref: str) -> Response:
        """Every attempt to build an image since it was made, newest first."""
        attempts = self.filtered(BuildFilter, self.meant(ref, tagless=True).attempts)
        return self.paged(attempts.order_by("-number"), BuildSerializer)


class BuildView(ImageView):
    lookup_field = "ref"

    @extend_schema(operation_id="get_build", responses=BuildSerializer)
    def retrieve(self, request: Request, ref: str, number: str) -> Response:
        """One attempt to build an image, by its number."""
        found = None
        if len(number) <= DIGITS:
            attempts = self.meant(ref, tagless=True).attempts
            found = attempts.filter(number=int(number)).first()
        if found is None:
            raise CodedError(ATTEMPT_NOT_FOUND, number=number)
        return Response(BuildSerializer(found).data)


class CancelView(ImageView):
    @extend_schema(
        operation_id="cancel_build",
        request=None,
        responses={202: ImageSerializer, **refusals(NOTHING_UNDER_WAY)},
    )
    def create(self, request: Request, ref: str) -> Response:
        """Cancels the current build: at once while it is queued, else within seconds."""
        image = catalog.cancel(self.owned(ref))
        return accepted(ImageSerializer(image).data)


class RebuildView(ImageView):
    parser_classes = (JsonParser,)
    body_limits = {"POST": JSON_BYTES}

    @extend_schema(
        operation_id="rebuild_image",
        request=RebuildSerializer,
        responses={
            202: AcceptedSerializer,
            **refusals(BUILD_UNDER_WAY, CONTEXT_GONE, QUOTA_EXCEEDED, STORAGE_EXCEEDED),
        },
    )
    def create(self, request: Request, ref: str) -> HttpResponseBase:
        """Builds an image again, with the Dockerfile and context of the last attempt.

        A body is optional. Options in it replace those of the last attempt.
        """
        form = RebuildSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        image, options = self.owned(ref), form.validated_data
        return once(
            request, self.user, lambda: ordered(catalog.rebuild(image, **options), self.user)
        )
