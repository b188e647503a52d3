"""Logos: users upload them, anybody may read them."""

from uuid import UUID

from django.core.files.storage import default_storage
from django.http import HttpResponse, HttpResponseRedirect
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from api.multipart_forms import MultipartParser
from api.schema import refusals
from api.views import OpenView
from common.error_codes import LOGO_NOT_FOUND, LOGO_TOO_LARGE, LOGOS_EXCEEDED, CodedError
from images import logos
from images.models import Logo
from images.rest.base import ImageView
from images.rest.serializers import LogoSerializer, LogoUploadSerializer

FORM_BYTES = 64 * 1024
"""Size of the form without the picture."""


class LogosView(ImageView):
    parser_classes = (MultipartParser,)
    body_limits = {"POST": logos.BYTES + FORM_BYTES}

    @extend_schema(
        operation_id="create_logo",
        request={"multipart/form-data": LogoUploadSerializer},
        responses={200: LogoSerializer, **refusals(LOGOS_EXCEEDED)},
    )
    def create(self, request: Request) -> Response:
        """Converts a picture to a small webp, which images can use as their `logo_id`."""
        form = LogoUploadSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        file = form.validated_data["logo"]
        if file.size > logos.BYTES:
            raise CodedError(LOGO_TOO_LARGE, limit=logos.BYTES)
        try:
            logo = logos.add(owner=self.user, file=file)
        except logos.NotALogo as problem:
            raise ValidationError({"logo": [str(problem)]}, code="value_error") from problem
        return Response(LogoSerializer(logo).data)


class LogoView(OpenView):
    @extend_schema(
        operation_id="get_logo",
        responses={(200, "image/webp"): OpenApiResponse(bytes, "The picture.")},
    )
    def retrieve(self, request: Request, logo_id: UUID) -> HttpResponse:
        """A logo. Its content never changes."""
        logo = Logo.objects.filter(pk=logo_id).first()
        if logo is None:
            raise CodedError(LOGO_NOT_FOUND)
        try:
            with default_storage.open(logo.path) as file:
                response = HttpResponse(file.read(), content_type="image/webp")
        except FileNotFoundError as problem:
            raise CodedError(LOGO_NOT_FOUND) from problem
        response["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


class LogoPathView(OpenView):
    @extend_schema(
        operation_id="find_logo", responses={302: OpenApiResponse(None, "Where the logo is.")}
    )
    def retrieve(self, request: Request, logo_id: UUID) -> HttpResponse:
        """Redirects the `path` of a logo to the picture."""
        if not Logo.objects.filter(pk=logo_id).exists():
            raise CodedError(LOGO_NOT_FOUND)
        return HttpResponseRedirect(f"/logos/{logo_id}.webp")
