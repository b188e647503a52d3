"""A small picture with the state of an image's last build, for readmes."""

from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.html import escape
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from images.rest.base import ImageView

SVG = "image/svg+xml"
KEPT_SECONDS = 60
COLOURS = {
    "queued": "#6b7280",
    "building": "#1d4ed8",
    "succeeded": "#15803d",
    "failed": "#b91c1c",
    "cancelled": "#6b7280",
}
CHARACTER, PADDING = 6.6, 10
"""Size of the text, in pixels."""
LABEL_CHARACTERS = 60
FORM = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" \
aria-label="{label}: {word}"><title>{label}: {word}</title>\
<rect width="{width}" height="20" rx="3" fill="#374151"/>\
<path d="M{left} 0h{bend}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{bend}z" fill="{colour}"/>\
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\
<text x="{label_x}" y="14">{label}</text><text x="{word_x}" y="14">{word}</text></g></svg>
"""


def badge(label: str, word: str) -> str:
    """The picture as SVG. Both texts may contain any characters."""
    if len(label) > LABEL_CHARACTERS:
        label = f"{label[: LABEL_CHARACTERS - 1]}…"
    left, right = (round(len(text) * CHARACTER) + PADDING for text in (label, word))
    return FORM.format(
        width=left + right,
        left=left,
        bend=right - 3,
        label_x=left / 2,
        word_x=left + right / 2,
        label=escape(label),
        word=escape(word),
        colour=COLOURS[word],
    )


class BadgeView(ImageView):
    anonymous_allowed = True

    @extend_schema(
        operation_id="get_badge",
        responses={
            (200, SVG): OpenApiResponse(bytes, "The picture."),
            304: OpenApiResponse(None, "The picture is what If-None-Match names."),
        },
    )
    def retrieve(self, request: Request, ref: str) -> HttpResponse:
        """A picture with the state of an image's last build. Anybody may read a public image's."""
        image = self.meant(ref, tagless=True)
        response = HttpResponse(badge(f"{image.name}:{image.tag}", image.state), content_type=SVG)
        open_to_all = image.public and isinstance(request.user, AnonymousUser)
        shared = "public" if open_to_all else "private"
        response["Cache-Control"] = f"{shared}, max-age={KEPT_SECONDS}"
        response["Vary"] = "Authorization, Cookie"
        response["ETag"] = f'"{image.build.number}-{image.state}"'
        found: HttpResponse | None = get_conditional_response(
            request, etag=response["ETag"], response=response
        )
        return found or response
