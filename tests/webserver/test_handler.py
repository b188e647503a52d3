"""A request is answered in one visit to one of a few threads, whatever else is open."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.core import signals
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from api.later import LaterResponse
from observability.logs import REQUEST_ID
from webserver import handler
from webserver.handler import Handler

SEEN: list[str] = []
CLOSED: list[str] = []


def plain(request: HttpRequest) -> HttpResponse:
    SEEN.append(threading.current_thread().name)
    response = HttpResponse(b"plain")
    response.set_cookie("a", "b")
    return response


def middle(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def through(request: HttpRequest) -> HttpResponse:
        SEEN.append(threading.current_thread().name)
        REQUEST_ID.set("of this request")
        return answer(request)

    return through


def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def lines() -> AsyncIterator[bytes]:
        try:
            yield REQUEST_ID.get().encode()
            if "endless" in request.GET:
                await asyncio.sleep(60)
        finally:
            CLOSED.append("stream")

    return StreamingHttpResponse(lines())


def later(request: HttpRequest) -> LaterResponse:
    async def make() -> HttpResponse:
        try:
            await asyncio.sleep(60 if "endless" in request.GET else 0)
        finally:
            CLOSED.append("later")
        return HttpResponse(b"later", status=404, headers={"X-Its-Own": "1"})

    response = LaterResponse(make)
    response["X-Of-Middleware"] = "1"
    response.set_cookie("a", "b")
    return response


urlpatterns = [path("plain", plain), path("stream", stream), path("later", later)]


@pytest.fixture
def site() -> Any:
    del SEEN[:], CLOSED[:]
    here = f"{__name__}"
    with override_settings(ROOT_URLCONF=here, MIDDLEWARE=[f"{here}.middle"] * 2):
        yield Handler(threads=2)


async def ask(site: Handler, path: str, query: bytes = b"", leave: float = 60) -> list[Any]:
    """The messages of an answer; the reader leaves after so many seconds."""
    sent: list[Any] = []
    given: list[Any] = [{"type": "http.request", "body": b""}]

    async def receive() -> Any:
        if given:
            return given.pop()
        await asyncio.sleep(leave)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": []}
    async with asyncio.timeout(10):
        await site(scope, receive, send)
    return sent


async def test_middleware_and_view_run_in_the_same_thread(site: Handler) -> None:
    start, body = await ask(site, "/plain")
    assert (start["status"], body["body"]) == (200, b"plain")
    assert (b"Set-Cookie", b"a=b; Path=/") in start["headers"]
    assert len(SEEN) == 3
    assert len(set(SEEN)) == 1
    assert SEEN[0].startswith("request")


async def test_no_more_threads_are_used_than_there_are(site: Handler) -> None:
    await asyncio.gather(*(ask(site, "/plain") for _ in range(20)))
    assert len(set(SEEN)) <= 2


async def test_streams_take_no_thread_and_keep_what_middleware_set(site: Handler) -> None:
    open_streams = [asyncio.create_task(ask(site, "/stream", b"endless=1", 5)) for _ in range(5)]
    await asyncio.sleep(0.3)
    assert (await ask(site, "/plain"))[1]["body"] == b"plain"
    for each in open_streams:
        each.cancel()
    await asyncio.gather(*open_streams, return_exceptions=True)
    sent = await ask(site, "/stream")
    assert sent[1]["body"] == b"of this request"
    assert sent[-1] == {"type": "http.response.body"}


async def test_an_answer_that_is_made_later_has_its_own_status(site: Handler) -> None:
    start, body = await ask(site, "/later")
    assert (start["status"], body["body"]) == (404, b"later")
    headers = dict(start["headers"])
    assert (headers[b"X-Its-Own"], headers[b"X-Of-Middleware"]) == (b"1", b"1")
    assert (headers[b"Content-Length"], headers[b"Set-Cookie"]) == (b"5", b"a=b; Path=/")


async def test_answers_that_are_made_later_take_no_thread(site: Handler) -> None:
    waiting = [asyncio.create_task(ask(site, "/later", b"endless=1")) for _ in range(5)]
    assert (await ask(site, "/plain"))[1]["body"] == b"plain"
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_nothing_is_made_for_a_reader_who_left(site: Handler) -> None:
    assert await ask(site, "/later", b"endless=1", leave=0.1) == []
    assert CLOSED == ["later"]


async def test_a_stream_is_closed_when_its_reader_leaves(site: Handler) -> None:
    await ask(site, "/stream", b"endless=1", leave=0.2)
    assert CLOSED == ["stream"]


async def test_django_hears_of_every_start_and_end(site: Handler) -> None:
    heard: list[str] = []

    def began(**_: Any) -> None:
        heard.append("start")

    def finished(**_: Any) -> None:
        heard.append("end")

    signals.request_started.connect(began)
    signals.request_finished.connect(finished)
    try:
        await ask(site, "/plain")
        assert heard == ["start", "end"]
        await ask(site, "/nowhere")
        assert heard == ["start", "end"] * 2
        await ask(site, "/stream")
        assert heard[4:6] == ["start", "end"]
    finally:
        signals.request_started.disconnect(began)
        signals.request_finished.disconnect(finished)


def test_there_are_few_threads() -> None:
    assert handler.THREADS <= 32
