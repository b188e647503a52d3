"""The log in three formats that do not depend on the state of the build: events, text, JSON
lines."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from api.fields import QueryBool, QueryChoice, QueryInt, QuerySince
from builds.logs.cursor import Cursor
from builds.logs.plain_text import LogText
from builds.logs.selection import LineFilter
from builds.status import FINAL
from common.error_codes import ATTEMPT_NOT_FOUND, CodedError
from images.live.access_watch import while_allowed
from images.live.plain_streams import JSON_LINES, LINE_SCHEMA, Wanted, json_lines, text_lines
from images.live.sse import DENIED, EVENT, SSE, events
from images.models import Image
from images.rest.base import ImageView
from images.rest.logs import (
    ATTEMPT,
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    OFFSET,
    RANGE,
    TEXT,
    TEXT_RESPONSES,
    asked_for,
    chain,
    streamed,
    text,
)

MOST_TAIL = 100_000
MOST_STEP = 100_000
SELECTION = {
    "attempt": ATTEMPT,
    "follow": QueryBool(
        required=False, help_text="Whether to wait for more lines until the build ends."
    ),
    "tail": QueryInt(
        default=None,
        least=0,
        most=MOST_TAIL,
        required=False,
        help_text="Only so many lines from the end. All without it.",
    ),
    "since": QuerySince(
        required=False,
        help_text="Only lines from then on: a date and time, or an age such as `90s`, `10m`, `2h`.",
    ),
    "step": QueryInt(
        default=None,
        least=1,
        most=MOST_STEP,
        required=False,
        help_text="Only lines of the build step with this number.",
    ),
    "stream": QueryChoice(
        among=("stdout", "stderr"), required=False, help_text="Only lines of this stream."
    ),
    "download": QueryBool(required=False, help_text="Whether browsers save the answer as a file."),
}
TIMESTAMPS = QueryBool(required=False, help_text="Whether each line begins with its time.")


class EventsView(ImageView):
    anonymous_allowed = True
    queries = {"retrieve": {"offset": OFFSET, "attempt": ATTEMPT}}

    @extend_schema(
        operation_id="get_log_events",
        parameters=[LAST_EVENT_ID],
        responses={
            (200, SSE): OpenApiResponse(EVENT, "The events, until the build has ended."),
            204: OpenApiResponse(None, "The stream that `Last-Event-ID` names has ended."),
        },
    )
    def retrieve(self, request: Request, ref: str) -> HttpResponseBase:
        """The log as server-sent events, of a running or finished build.

        Each line of the log is an event. The last event is `done`, with the image's status.
        """
        image = self.meant(ref, self.readable(), tagless=True)
        cursor, _ = asked_for(request, image, self.query())
        if cursor is None:
            return HttpResponse(status=204)
        pieces = while_allowed(self.caller, image.pk, events(image.pk, cursor), last=DENIED)
        return streamed(request, pieces, SSE)


class SelectionView(ImageView):
    """Selected lines of a log, of a running or finished build."""

    anonymous_allowed = True

    def stream(
        self, image: Image, query: Mapping[str, Any], pieces: Any, content_type: str, suffix: str
    ) -> HttpResponseBase:
        source: AsyncIterator[bytes] = while_allowed(self.caller, image.pk, pieces)
        response = streamed(self.request, source, content_type)
        return disposed(response, image, query, suffix)


class TextView(SelectionView):
    queries = {"retrieve": {**SELECTION, "timestamps": TIMESTAMPS}}

    @extend_schema(
        operation_id="get_log_text",
        parameters=[RANGE, IF_NONE_MATCH],
        responses=TEXT_RESPONSES,
    )
    def retrieve(self, request: Request, ref: str) -> HttpResponseBase:
        """The log as plain text, of a running or finished build.

        Without `follow` the answer ends with the last line so far. `Range` and `If-None-Match`
        apply to a whole finished log.
        """
        query = self.query()
        image = self.meant(ref, self.readable(), tagless=True)
        wanted = wanted_of(image, query)
        attempts = chain(image, wanted.cursor.attempt)
        whole = wanted.lines.takes_all and wanted.tail is None and not query["timestamps"]
        if whole and attempts[-1].state in FINAL:
            response = text(request, image, LogText(attempts, 0), self.caller)
            return disposed(response, image, query, "log")
        pieces = text_lines(image.pk, wanted, timestamps=bool(query["timestamps"]))
        return self.stream(image, query, pieces, TEXT, "log")


class JsonLinesView(SelectionView):
    queries = {"retrieve": SELECTION}

    @extend_schema(
        operation_id="get_log_json_lines",
        responses={(200, JSON_LINES): OpenApiResponse(LINE_SCHEMA, "A JSON object on each line.")},
    )
    def retrieve(self, request: Request, ref: str) -> HttpResponseBase:
        """The log as JSON lines, of a running or finished build.

        If the build has ended, the last line has `"type": "done"` and how it ended.
        """
        query = self.query()
        image = self.meant(ref, self.readable(), tagless=True)
        wanted = wanted_of(image, query)
        return self.stream(image, query, json_lines(image.pk, wanted), JSON_LINES, "jsonl")


def wanted_of(image: Image, query: Mapping[str, Any]) -> Wanted:
    """The options of the request. Raises CodedError if there is no such attempt."""
    number = query["attempt"] or image.build.number
    if not image.attempts.filter(number=number).exists():
        raise CodedError(ATTEMPT_NOT_FOUND, number=number)
    return Wanted(
        cursor=Cursor(number, 0),
        lines=LineFilter(since=query["since"], step=query["step"], stream=query["stream"]),
        tail=query["tail"],
        follow=bool(query["follow"]),
    )


def disposed(
    response: HttpResponseBase, image: Image, query: Mapping[str, Any], suffix: str
) -> HttpResponseBase:
    """Adds a file name, and whether browsers save the answer."""
    number = query["attempt"] or image.build.number
    name = f"{image.repository}-{image.tag}-build-{number}.{suffix}".replace("/", "-")
    header = content_disposition_header(bool(query["download"]), name)
    response["Content-Disposition"] = header or "inline"
    return response
