"""Parse and render JSON bodies, whatever `Accept` says."""

from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from api.exceptions import Invalid

JSON_BYTES = 1024 * 1024
"""Maximum size of JSON bodies, which are read into memory. Ours are all short."""


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, option=orjson.OPT_UTC_Z, default=str)


class JsonParser(BaseParser):
    """Parses a JSON object. Raises Invalid or RequestDataTooBig."""

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> dict[str, Any]:
        body = stream.read(JSON_BYTES + 1)
        if len(body) > JSON_BYTES:
            raise RequestDataTooBig(f"A body in JSON takes at most {JSON_BYTES} bytes")
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError as problem:
            raise Invalid("json_invalid", f"JSON decode error: {problem}", "body") from problem
        if not isinstance(found, dict):
            raise Invalid("dict_type", "Input should be a valid dictionary", "body")
        return found


class JsonAlways(BaseContentNegotiation):
    """Always negotiates JSON, whatever `Accept` says: readers of streams send
    `text/event-stream`."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((each for each in parsers if content_type == each.media_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type
