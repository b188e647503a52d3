"""Lines of a log by number, and search in a log. docs/websocket.md describes both."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from api.fields import QueryBool, QueryInt, QueryNeedle
from builds.logs.lines import LogLine
from builds.logs.reader import page
from builds.logs.search import search
from builds.models import Build
from builds.status import state_word
from common.error_codes import ATTEMPT_NOT_FOUND, LOG_GONE, CodedError
from images.live.messages import row
from images.models import Image
from images.rest.base import ImageView
from images.rest.logs import ATTEMPT

MOST_LINES = 2_000
MOST_HITS = 10_000
MOST_BYTES = 2 * 1024 * 1024
LAST_LINE = 999_999_999

FIRST = QueryInt(
    default=0, least=0, most=LAST_LINE, required=False, help_text="The number of a line."
)
LINES = {
    "attempt": ATTEMPT,
    "from": FIRST,
    "count": QueryInt(default=500, least=1, most=MOST_LINES, required=False),
    "steps": QueryBool(required=False, help_text="Whether to tell of the steps."),
}
SEARCH = {
    "q": QueryNeedle(most=1_000, help_text="A text, taken literally."),
    "attempt": ATTEMPT,
    "ignore_case": QueryBool(required=False),
    "from": FIRST,
    "count": QueryInt(default=1_000, least=1, most=MOST_HITS, required=False),
}
NUMBER = {"type": "integer", "minimum": 0}
OR_NULL = {"type": ["integer", "null"], "minimum": 0}
TEXT = {"type": "string"}


def body(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def rows_of(text: str) -> dict[str, Any]:
    cells = {"type": "array", "items": {"type": ["string", "integer", "null"]}}
    return {"type": "array", "items": cells, "description": text}


PAGE = body(
    image_id=TEXT,
    attempt=NUMBER,
    state=TEXT,
    status=TEXT,
    ended={"type": "boolean", "description": "Whether nothing can follow `total`."},
    total={**NUMBER, "description": "Lines so far."},
    first=NUMBER,
    lines=rows_of("`[stream, text, microseconds since 1970, step or null]` of each."),
    next={**TEXT, "description": "The cursor after the last of these lines."},
)
PAGE["properties"]["gap"] = {
    "type": ["array", "null"],
    "items": NUMBER,
    "description": "`[first, following]` of the lines that a log too long has lost; the first of "
    "them says so.",
}
PAGE["properties"]["steps"] = rows_of(
    "Headings: `[step, line, text, microseconds since 1970]` of each. A step whose lines were "
    "interrupted by those of another has several."
)
PAGE["properties"]["step_list"] = {
    "type": "array",
    "items": body(
        number=NUMBER,
        stage={**TEXT, "description": "Empty where the Dockerfile has a single stage."},
        dockerfile_line=NUMBER,
        text=TEXT,
        state={
            **TEXT,
            "enum": ["waiting", "running", "cached", "succeeded", "failed", "cancelled"],
        },
        started={**OR_NULL, "description": "In microseconds since 1970."},
        ended=OR_NULL,
    ),
    "description": "Every step of the build. `waiting` where it was not reached.",
}
HITS = body(
    image_id=TEXT,
    attempt=NUMBER,
    q=TEXT,
    total={**NUMBER, "description": "Of all matching lines, those before `from` too."},
    hits=rows_of("`[line, text]` of each."),
    next={**OR_NULL, "description": "The `from` of what was left."},
)


PAGE["title"], HITS["title"] = "LogPage", "LogHits"


class LinesView(ImageView):
    anonymous_allowed = True
    queries = {"retrieve": LINES}

    @extend_schema(
        operation_id="get_log_lines",
        responses={200: OpenApiResponse(PAGE)},
    )
    def retrieve(self, request: Request, ref: str) -> Response:
        """Lines by their numbers, of a running or finished build."""
        given = self.query()
        image = self.meant(ref, self.readable(), tagless=True)
        build = attempt_of(image, given["attempt"])
        at = first = given["from"]
        lines: list[LogLine] = []
        size = 0
        while found := page(image.pk, attempt=build.number, line=at, most=given["count"]):
            lines += found.lines
            at = found.stop
            size += sum(len(line.text) for line in found.lines)
            if not found.lines or found.gap or len(lines) >= given["count"] or size > MOST_BYTES:
                break
        if found is None:
            raise CodedError(LOG_GONE)
        lines, left = lines[: given["count"]], lines[given["count"] :]
        head = found.head
        answer: dict[str, Any] = {
            "image_id": str(image.pk),
            "attempt": build.number,
            "state": state_word(head.status),
            "status": head.api_status,
            "ended": head.final,
            "total": head.lines,
            "first": first,
            "lines": [row(line) for line in lines],
            "next": f"{build.number}:{at - len(left)}",
            "gap": [build.gap_start, build.gap_stop] if build.gap_stop else None,
        }
        if given["steps"]:
            answer["steps"] = build.log_steps
            answer["step_list"] = build.step_facts
        return Response(answer)


class SearchView(ImageView):
    anonymous_allowed = True
    queries = {"retrieve": SEARCH}

    @extend_schema(
        operation_id="search_log",
        responses={200: OpenApiResponse(HITS)},
    )
    def retrieve(self, request: Request, ref: str) -> Response:
        """Lines that contain a text, with their numbers and the number of all matches."""
        given = self.query()
        image = self.meant(ref, self.readable(), tagless=True)
        build = attempt_of(image, given["attempt"])
        found = search(
            build,
            given["q"],
            ignore_case=bool(given["ignore_case"]),
            start=given["from"],
            count=given["count"],
        )
        return Response(
            {
                "image_id": str(image.pk),
                "attempt": build.number,
                "q": given["q"],
                "total": found.total,
                "hits": found.hits,
                "next": found.next,
            }
        )


def attempt_of(image: Image, number: int) -> Build:
    """The attempt with this number; 0 means the current one. Raises CodedError."""
    attempts = image.attempts.defer("dockerfile", "build_args", "labels")
    build = attempts.filter(number=number or image.build.number).first()
    if build is None:
        raise CodedError(ATTEMPT_NOT_FOUND, number=number)
    return build
