"""The log of an image's build: events while it runs, text when it has ended."""

import re
from collections.abc import Sequence

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from accounts.websocket_auth import Caller
from api.exceptions import Invalid
from api.http_ranges import Read, answer
from builds.logs.cursor import CURSOR, BadCursor, Cursor
from builds.logs.plain_text import LogText
from builds.models import Build
from builds.status import FINAL, Status
from images.live.access_watch import while_allowed
from images.live.sse import EVENT, SHUT_OUT, SSE, events
from images.models import Image
from images.rest.base import ImageView

TEXT = "text/plain; charset=utf-8"
ZSTD = re.compile(r"(^|[\s,])zstd\s*(,|$)", re.IGNORECASE)
"""Accepted without a weight: who gives it one can do without."""
CURSOR_SCHEMA = {"type": "string", "pattern": f"^({CURSOR.pattern})?$"}
"""Empty is as good as absent."""
HEADERS = [
    ("Last-Event-ID", CURSOR_SCHEMA, "A cursor; it wins over `offset`."),
    ("Range", {"type": "string"}, "Some bytes of a finished log."),
    ("If-None-Match", {"type": "string"}, "The ETag of a finished log that one has."),
]


class LogsView(ImageView):
    anonymous_allowed = True

    @extend_schema(
        operation_id="get_logs",
        parameters=[
            OpenApiParameter(
                "offset",
                CURSOR_SCHEMA,
                description="The cursor of the first line to send, from an earlier answer.",
            ),
            *(
                OpenApiParameter(name, schema, OpenApiParameter.HEADER, description=text)
                for name, schema, text in HEADERS
            ),
        ],
        responses={
            (200, SSE): EVENT,
            (200, "text/plain"): str,
            204: OpenApiResponse(None, "The stream that Last-Event-ID names has ended."),
            (206, "text/plain"): OpenApiResponse(str, "The bytes asked for."),
            304: OpenApiResponse(None, "The log is what If-None-Match names."),
            416: "The log has no such bytes.",
        },
    )
    def retrieve(self, request: Request, ref: str) -> HttpResponseBase:
        """The log, from the start or from a cursor on. Anybody may read a public image's.

        A build under way is answered with events, a finished one with text, unless `Accept` has
        `text/event-stream` in it.
        """
        image = self.meant(ref, self.readable(), tagless=True)
        resumed = request.headers.get("Last-Event-ID", "")
        cursor = cursor_of(image, request.query_params.get("offset", ""))
        cursor = cursor_of(image, resumed) if resumed else cursor
        if resumed and cursor.done:
            # The end was delivered: this is what keeps EventSource from asking again.
            return HttpResponse(status=204)
        attempts = chain(image, cursor.attempt)
        if not attempts:
            raise bad_offset(f"there is no attempt {cursor.attempt} of this image")
        if SSE in request.headers.get("Accept", "") or attempts[-1].state not in FINAL:
            return stream(request, image, cursor, self.caller)
        return text(request, image, LogText(attempts, cursor.line), self.caller)


def cursor_of(image: Image, given: str) -> Cursor:
    """Raises Invalid."""
    if not given:
        return Cursor(image.build.number, 0)
    try:
        return Cursor.parse(given)
    except BadCursor as problem:
        raise bad_offset(str(problem)) from problem


def bad_offset(problem: str) -> Invalid:
    return Invalid("cursor_parsing", problem, "query", "offset")


def chain(image: Image, number: int) -> Sequence[Build]:
    """What a reader of that attempt reads: it, and while they were lost, those that took over."""
    found: list[Build] = []
    for build in image.attempts.filter(number__gte=number).order_by("number"):
        if build.number != number + len(found):
            break
        found.append(build)
        if build.state is not Status.LOST:
            break
    return found


def stream(
    request: Request, image: Image, cursor: Cursor, caller: Caller, *, status: int = 200
) -> HttpResponseBase:
    """The log as it comes. Nothing of the request's database connection is kept meanwhile."""
    connection.close()
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type=SSE)
    else:
        pieces = while_allowed(caller, image.pk, events(image.pk, cursor), last=SHUT_OUT)
        response = StreamingHttpResponse(pieces, content_type=SSE, status=status)
    response["Cache-Control"] = "private, no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


def text(request: Request, image: Image, log: LogText, caller: Caller) -> HttpResponseBase:
    """A finished log, or as much of it as was asked for."""
    connection.close()

    def guarded(read: Read) -> Read:
        return lambda start, stop: while_allowed(caller, image.pk, read(start, stop))

    takes = request.headers.get("Accept-Encoding", "")
    if log.stored_size and ZSTD.search(takes) and "Range" not in request.headers:
        etag, read, size = f'"{log.tag}.zst"', log.read_stored, log.stored_size
        response = answer(request, guarded(read), size=size, etag=etag, content_type=TEXT)
        response["Content-Encoding"] = "zstd"
    else:
        etag, read, size = f'"{log.tag}"', log.read, log.size
        response = answer(request, guarded(read), size=size, etag=etag, content_type=TEXT)
    response["Vary"] = "Accept-Encoding"
    response["Content-Disposition"] = f'inline; filename="{image.pk}.log"'
    return response
