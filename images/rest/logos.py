"""Logos: sent by users, shown to anybody."""

from uuid import UUID

from django.core.files.storage import default_storage
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from api.exceptions import TooLarge, TooMany
from api.media_types import FormParser
from api.views import OpenView
from images import logos
from images.models import Logo
from images.rest.base import ImageView
from images.rest.serializers import LogoSerializer, LogoUploadSerializer

FORM_BYTES = 64 * 1024
"""Around the picture."""
NO_LOGO = "Logo not found"


class LogosView(ImageView):
    parser_classes = (FormParser,)
    body_limits = {"POST": logos.BYTES + FORM_BYTES}

    @extend_schema(
        operation_id="create_logo",
        request={"multipart/form-data": LogoUploadSerializer},
        responses={200: LogoSerializer, 429: "The caller sent too many logos in 24 hours."},
    )
    def create(self, request: Request) -> Response:
        """Takes a picture and keeps a small webp of it, for images to name as `logo_id`."""
        form = LogoUploadSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        file = form.validated_data["logo"]
        if file.size > logos.BYTES:
            raise TooLarge(f"A logo takes at most {logos.BYTES} bytes")
        try:
            logo = logos.add(owner=self.user, file=file)
        except logos.NotALogo as problem:
            raise ValidationError({"logo": [str(problem)]}, code="value_error") from problem
        except logos.TooManyLogos as problem:
            text = f"You may only send {logos.MOST} logos per 24 hours."
            raise TooMany(text, logos.WINDOW.total_seconds()) from problem
        return Response(LogoSerializer(logo).data)


class LogoView(OpenView):
    @extend_schema(
        operation_id="get_logo",
        responses={(200, "image/webp"): OpenApiResponse(bytes, "The picture.")},
    )
    def retrieve(self, request: Request, logo_id: UUID) -> HttpResponse:
        """A logo. It never changes."""
        logo = Logo.objects.filter(pk=logo_id).first()
        if logo is None:
            raise NotFound(NO_LOGO)
        try:
            with default_storage.open(logo.path) as file:
                response = HttpResponse(file.read(), content_type="image/webp")
        except FileNotFoundError as problem:
            raise NotFound(NO_LOGO) from problem
        response["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
