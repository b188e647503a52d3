"""The log of an attempt as a text file, also while it is being written."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from builds.logs.cursor import Cursor
from builds.logs.selection import snapshot
from images.models import Image
from images.pages.image_detail import attempt_named, missing

TEXT = "text/plain; charset=utf-8"


@require_safe
def download(request: HttpRequest, image_id: UUID) -> HttpResponseBase:
    """All lines so far. The log of a lost attempt continues with the next attempt."""
    readable = Image.objects.with_build().readable_by(request.user)
    image = readable.filter(pk=image_id).first()
    if image is None:
        return missing(request)
    attempt = (attempt_named(request, image) or image.build).number
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type=TEXT)
    else:
        response = StreamingHttpResponse(_text(image_id, attempt), content_type=TEXT)
    name = f"{image.repository}-{image.tag}-attempt-{attempt}.log".replace("/", "-")
    response["Content-Disposition"] = content_disposition_header(False, name) or "inline"
    response["Cache-Control"] = "private, no-store"
    return response


async def _text(image_id: UUID, attempt: int) -> AsyncIterator[bytes]:
    async with aclosing(snapshot(image_id, Cursor(attempt, 0))) as parts:
        async for part in parts:
            yield "".join(f"{line.text}\n" for line in part.lines).encode()
