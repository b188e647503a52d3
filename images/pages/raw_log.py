"""The log of an attempt as a text file, also while it is being written."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from builds.logs.reader import page
from builds.logs.reader_threads import in_reader
from builds.status import Status
from images.models import Image
from images.pages.image_detail import attempt_named, missing

TEXT = "text/plain; charset=utf-8"
RETRIES = 50
RETRY_SECONDS = 0.1
"""Lines that are moved into the archive are away for a moment."""


@require_safe
def download(request: HttpRequest, image_id: UUID) -> HttpResponseBase:
    """Every line so far. The log of a lost attempt goes on with the attempt that replaced it."""
    readable = Image.objects.with_build().readable_by(request.user)
    image = readable.filter(pk=image_id).first()
    if image is None:
        return missing(request)
    attempt = (attempt_named(request, image) or image.build).number
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type=TEXT)
    else:
        response = StreamingHttpResponse(_lines(image_id, attempt), content_type=TEXT)
    name = f"{image.repository}-{image.tag}-attempt-{attempt}.log".replace("/", "-")
    response["Content-Disposition"] = content_disposition_header(False, name) or "inline"
    response["Cache-Control"] = "private, no-store"
    return response


async def _lines(image_id: UUID, attempt: int) -> AsyncIterator[bytes]:
    """Parts of about builds.logs.reader.PAGE_BYTES. Lines written after the first look at an
    attempt are left out, so that the download of a running build ends."""
    lost = True
    while lost:
        lost, at, end, retries = False, 0, None, 0
        while found := await in_reader(page, image_id, attempt=attempt, line=at):
            end = found.head.lines if end is None else end
            lost = found.head.status is Status.LOST
            if at >= end or retries > RETRIES:
                break
            if not found.lines:
                retries += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            yield "".join(f"{line.text}\n" for line in found.lines).encode()
            at = found.stop
        attempt += 1
