"""The log of an image's build: events while it runs, text when it has ended."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from accounts.websocket_auth import Caller
from api.exceptions import Invalid
from api.fields import QueryInt, QueryText
from api.http_ranges import Read, answer
from api.schema import refusals
from builds.logs.cursor import CURSOR, BadCursor, Cursor
from builds.logs.plain_text import LogText
from builds.models import Build
from builds.status import FINAL, Status
from common.error_codes import ATTEMPT_NOT_FOUND, RANGE_NOT_SATISFIABLE, CodedError
from images.live.access_watch import while_allowed
from images.live.sse import COMMAND_LINE_DENIED, EVENT, SSE, command_line_events
from images.models import Image
from images.rest.base import ImageView

TEXT = "text/plain; charset=utf-8"
LAST_ATTEMPT = 999_999_999
ATTEMPT = QueryInt(
    default=0,
    least=0,
    most=LAST_ATTEMPT,
    required=False,
    help_text="The number of a build; 0 means the current one.",
)
ZSTD = re.compile(r"(^|[\s,])zstd\s*(,|$)", re.IGNORECASE)
"""zstd without a weight: a client that gives it one can do without."""
CURSOR_SCHEMA = {"type": "string", "pattern": f"^({CURSOR.pattern})?$"}
"""Empty means the same as absent."""
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID",
    CURSOR_SCHEMA,
    OpenApiParameter.HEADER,
    description="The `id` of the last event that was received. It wins over `offset`.",
)
RANGE = OpenApiParameter(
    "Range",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The bytes of a finished log to send, as in `bytes=0-999`.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The `ETag` of the finished log that the client has already.",
)
TEXT_RESPONSES: dict[Any, Any] = {
    (200, "text/plain"): OpenApiResponse(str, "The log."),
    (206, "text/plain"): OpenApiResponse(str, "The bytes that `Range` asks for."),
    304: OpenApiResponse(None, "The log is the one that `If-None-Match` names."),
    **refusals(RANGE_NOT_SATISFIABLE),
}
OFFSET = QueryText(
    required=False,
    strip=False,
    schema=CURSOR_SCHEMA,
    help_text="The cursor of the first line to send, from an earlier answer.",
)


class LogsView(ImageView):
    anonymous_allowed = True
    queries = {"retrieve": {"offset": OFFSET, "attempt": ATTEMPT}}

    @extend_schema(
        operation_id="get_logs",
        parameters=[LAST_EVENT_ID, RANGE, IF_NONE_MATCH],
        responses={
            (200, SSE): EVENT,
            204: OpenApiResponse(None, "The stream that `Last-Event-ID` names has ended."),
            **TEXT_RESPONSES,
        },
    )
    def retrieve(self, request: Request, ref: str) -> HttpResponseBase:
        """The log, from the start or from a cursor on. Anybody may read a public image's.

        For a running build the answer has events, for a finished one text, unless `Accept` contains
        `text/event-stream`.
        """
        image = self.meant(ref, self.readable(), tagless=True)
        cursor, attempts = asked_for(request, image, self.query())
        if cursor is None:
            return HttpResponse(status=204)
        if SSE in request.headers.get("Accept", "") or attempts[-1].state not in FINAL:
            return stream(request, image, cursor, self.caller)
        return text(request, image, LogText(attempts, cursor.line), self.caller)


def asked_for(
    request: Request, image: Image, query: Mapping[str, Any]
) -> tuple[Cursor | None, Sequence[Build]]:
    """The cursor to begin at, and the attempts to read. None if `Last-Event-ID` is the end.

    Then 204 is answered, which stops an EventSource from connecting again. Raises Invalid, or
    CodedError if there is no such attempt.
    """
    resumed, number = request.headers.get("Last-Event-ID", ""), query["attempt"]
    cursor = cursor_of(image, query["offset"], number)
    cursor = cursor_of(image, resumed, number) if resumed else cursor
    attempts = chain(image, cursor.attempt)
    if not attempts and (query["offset"] or resumed):
        raise bad_offset(f"there is no attempt {cursor.attempt} of this image")
    if not attempts:
        raise CodedError(ATTEMPT_NOT_FOUND, number=cursor.attempt)
    return (None if resumed and cursor.done else cursor), attempts


def cursor_of(image: Image, given: str, number: int) -> Cursor:
    """The cursor of the request, or the start of an attempt. Raises Invalid."""
    if not given:
        return Cursor(number or image.build.number, 0)
    try:
        cursor = Cursor.parse(given)
    except BadCursor as problem:
        raise bad_offset(str(problem)) from problem
    if number and cursor.attempt != number:
        raise bad_offset(f"{given!r} is of attempt {cursor.attempt}, not {number}")
    return cursor


def bad_offset(problem: str) -> Invalid:
    return Invalid("cursor_parsing", problem, "query", "offset")


def chain(image: Image, number: int) -> Sequence[Build]:
    """The attempts that a reader reads: this one and, while they were lost, their successors."""
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
    """The log while it is written, in the format of the command line."""
    source = command_line_events(image.pk, cursor)
    pieces = while_allowed(caller, image.pk, source, last=COMMAND_LINE_DENIED)
    return streamed(request, pieces, SSE, status=status)


def streamed(
    request: Request, pieces: AsyncIterator[bytes], content_type: str, *, status: int = 200
) -> HttpResponseBase:
    """A streaming answer. It does not keep the database connection of the request."""
    connection.close()
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type=content_type)
    else:
        response = StreamingHttpResponse(pieces, content_type=content_type, status=status)
    response["Cache-Control"] = "private, no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


def text(request: Request, image: Image, log: LogText, caller: Caller) -> HttpResponseBase:
    """A finished log, or the requested part of it."""
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
