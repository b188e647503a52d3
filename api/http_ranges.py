"""Partial and conditional responses: `Range`, `If-Range`, `ETag`, `If-None-Match`."""

import re
from collections.abc import AsyncIterator, Callable

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags
from rest_framework.exceptions import APIException
from rest_framework.request import Request

RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)

Read = Callable[[int, int], AsyncIterator[bytes]]


class Unsatisfiable(APIException):
    """416: the range is outside the content."""

    status_code = 416

    def __init__(self, size: int) -> None:
        super().__init__("Range Not Satisfiable")
        self.headers = {"Content-Range": f"bytes */{size}"}


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """The requested byte range as (start, stop), stop exclusive. None means the whole content.

    Several ranges are answered with the whole content, as HTTP allows. Raises Unsatisfiable.
    """
    found = RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    first, last = found[1], found[2]
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise Unsatisfiable(size)
    return start, stop


def known(etag: str, header: str) -> bool:
    """Whether `If-None-Match` contains this ETag."""
    tags = parse_etags(header)
    return "*" in tags or any(each.removeprefix("W/") == etag for each in tags)


def answer(
    request: Request, read: Read, *, size: int, etag: str, content_type: str
) -> HttpResponseBase:
    """Respond with the requested part of immutable content, or 304. Raises Unsatisfiable.

    `read(start, stop)` yields the content's bytes in that range.
    """
    response: HttpResponseBase
    if known(etag, request.headers.get("If-None-Match", "")):
        response = HttpResponse(status=304)
    else:
        whole = request.headers.get("If-Range", etag) != etag
        asked = None if whole else asked_range(request.headers.get("Range", ""), size)
        start, stop = asked or (0, size)
        status = 206 if asked else 200
        if request.method == "HEAD":
            response = HttpResponse(status=status, content_type=content_type)
        else:
            response = StreamingHttpResponse(
                read(start, stop), status=status, content_type=content_type
            )
        response["Content-Length"] = str(stop - start)
        if asked:
            response["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response["ETag"] = etag
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, no-cache"
    return response
