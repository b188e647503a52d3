"""The attempts at an image: looked at, ended, made again."""

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from api.exceptions import Conflict, TooMany
from api.schema import query_parameters
from builds.lifecycle import ContextGone, UnderWay
from images import catalog
from images.filters import BuildFilter
from images.models import Image
from images.rest import rows
from images.rest.base import MISSING, ImageView
from images.rest.serializers import AcceptedSerializer, BuildSerializer, ImageSerializer


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
        return Response(ImageSerializer(image).data, status=202)


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
            image = catalog.rebuild(self.owned(ref))
        except catalog.QuotaExceeded as problem:
            raise TooMany(str(problem), problem.retry_after) from problem
        except UnderWay as problem:
            raise Conflict("A build is under way: cancel it, or wait for its end") from problem
        except ContextGone as problem:
            raise Conflict("The context is no longer stored: send the image again") from problem
        except Image.DoesNotExist as problem:
            raise NotFound(MISSING) from problem
        return Response(rows.accepted(image), status=202)
