"""The attempts at an image: looked at, ended, made again."""

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from api.exceptions import Conflict
from api.schema import query_parameters
from builds.lifecycle import ContextGone, UnderWay
from images import catalog
from images.filters import BuildFilter
from images.models import Image
from images.rest import rows
from images.rest.base import MISSING, ImageView, accepted, quota_refusals
from images.rest.serializers import AcceptedSerializer, BuildSerializer, ImageSerializer

NO_BUILD = "There is no build of this number"
DIGITS = 9


class BuildsView(ImageView):
    @extend_schema(
        operation_id="list_builds",
        parameters=query_parameters(BuildFilter),
        responses=BuildSerializer(many=True),
    )
    def list(self, request: Request, ref: str) -> Response:
        """Every attempt at an image since it was made, newest first."""
        attempts = self.filtered(BuildFilter, self.meant(ref, tagless=True).attempts)
        return self.paged(attempts.order_by("-number"), BuildSerializer)


class BuildView(ImageView):
    lookup_field = "ref"

    @extend_schema(operation_id="get_build", responses=BuildSerializer)
    def retrieve(self, request: Request, ref: str, number: str) -> Response:
        """One attempt at an image, by its number."""
        found = None
        if len(number) <= DIGITS:
            attempts = self.meant(ref, tagless=True).attempts
            found = attempts.filter(number=int(number)).first()
        if found is None:
            raise NotFound(NO_BUILD)
        return Response(BuildSerializer(found).data)


class CancelView(ImageView):
    @extend_schema(
        operation_id="cancel_build",
        request=None,
        responses={202: ImageSerializer, 409: "No build is under way."},
    )
    def create(self, request: Request, ref: str) -> Response:
        """Ends the build under way: at once while it is queued, else within seconds."""
        try:
            image = catalog.cancel(self.owned(ref))
        except catalog.NothingUnderWay as problem:
            raise Conflict("There is no build to cancel: the last one has ended") from problem
        except Image.DoesNotExist as problem:
            raise NotFound(MISSING) from problem
        return accepted(ImageSerializer(image).data)


class RebuildView(ImageView):
    @extend_schema(
        operation_id="rebuild_image",
        request=None,
        responses={
            202: AcceptedSerializer,
            409: "A build is under way, or what it was made from is gone.",
            429: "The caller's builds for 24 hours are used up.",
        },
    )
    def create(self, request: Request, ref: str) -> Response:
        """A new attempt with the Dockerfile, context and options of the last one."""
        try:
            with quota_refusals():
                image = catalog.rebuild(self.owned(ref))
        except UnderWay as problem:
            raise Conflict("A build is under way: cancel it, or wait for its end") from problem
        except ContextGone as problem:
            raise Conflict("The context is no longer stored: send the image again") from problem
        except Image.DoesNotExist as problem:
            raise NotFound(MISSING) from problem
        return accepted(rows.accepted(image))
