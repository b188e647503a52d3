"""Django's ASGI handler, with one thread switch per request.

Django's own handler runs the middleware in the event loop, switches to a thread for each
synchronous one, in both directions, and starts a thread for each request. All of our middleware and
views are synchronous, so here a request is read, answered and closed in one call in a thread of a
small pool. Streams are sent by the event loop.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import IO, Any

from asgiref.sync import ThreadSensitiveContext
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from api.later import LaterResponse
from webserver.body_spool import KEY, Spool

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

THREADS = 16
"""Requests that are processed at once. Streams use none of these threads while they run."""


class Whole:
    """A complete response that is already closed: status, headers and body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, response: HttpResponseBase, body: bytes) -> None:
        self.status = response.status_code
        self.headers = _headers(response)
        self.body = body


class Handler(ASGIHandler):
    """Takes the body from the scope, if our web server has put it there.

    `request.META["slipway.body"]` is then its Spool. With another server or a test client, the body
    is read from the ASGI messages and the key is missing.
    """

    def __init__(self, threads: int = THREADS) -> None:
        super().__init__()
        self.load_middleware(is_async=False)
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        spool: Spool | None = scope.get(KEY)
        try:
            body: IO[bytes] = await self._body(receive) if spool is None else spool.file
        except RequestAborted:
            return
        loop = asyncio.get_running_loop()
        # Context variables set by middleware stay valid for the stream.
        context = copy_context()
        answer = await loop.run_in_executor(
            self.threads, context.run, self._answer, scope, body, spool
        )
        if isinstance(answer, Whole):
            await _send_whole(answer, send)
        elif isinstance(answer, LaterResponse):
            await loop.create_task(self._send_later(answer, receive, send), context=context)
        else:
            await loop.create_task(self._stream(answer, receive, send), context=context)

    async def _body(self, receive: Receive) -> IO[bytes]:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return io.BytesIO(message.get("body", b""))

        async def again() -> Message:
            nonlocal message
            found, message = message, {}
            return found or await receive()

        return await self.read_body(again)

    # In a thread

    def _answer(
        self, scope: Mapping[str, Any], body: IO[bytes], spool: Spool | None
    ) -> Whole | HttpResponseBase:
        """Process a request. Responses other than async streams are returned already closed."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        if spool is not None:
            body.seek(0)
        request, refused = self.create_request(scope, body)
        if request is None:
            assert refused is not None  # noqa: S101
            response: HttpResponseBase = refused
        else:
            _note(request, spool)
            response = self.get_response(request)
            response._handler_class = self.__class__  # type: ignore[attr-defined]  # noqa: SLF001
        if response.streaming and response.is_async:  # type: ignore[attr-defined]
            # The stream leaves this thread, so release this thread's database connection now.
            signals.request_finished.send(sender=self.__class__)
            return response
        try:
            content = b"".join(response) if response.streaming else response.content  # type: ignore[attr-defined]
            return Whole(response, content)
        finally:
            response.close()

    # In the event loop

    async def _stream(self, response: HttpResponseBase, receive: Receive, send: Send) -> None:
        """Send until the stream ends or the client disconnects, then close the response."""
        sending = asyncio.ensure_future(self._send_stream(response, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await asyncio.get_running_loop().run_in_executor(self.threads, response.close)

    async def _send_later(self, answer: LaterResponse, receive: Receive, send: Send) -> None:
        """Wait for the response and send it, unless the client disconnects first."""
        making = asyncio.ensure_future(answer.made())
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                response = making.result()
                await _send_whole(Whole(response, response.content), send)
        finally:
            for task in (making, leaving):
                task.cancel()
            await asyncio.gather(making, leaving, return_exceptions=True)
            await asyncio.get_running_loop().run_in_executor(self.threads, answer.close)

    async def _send_stream(self, response: HttpResponseBase, send: Send) -> None:
        async with ThreadSensitiveContext():
            try:
                await self.send_response(response, send)
            finally:
                # If the client disconnects while the generator waits, Django leaves closing it to
                # the garbage collector.
                source = getattr(response, "_iterator", None)
                if isinstance(source, AsyncGenerator):
                    await source.aclose()


async def _send_whole(answer: Whole, send: Send) -> None:
    start = {"status": answer.status, "headers": answer.headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": answer.body})


async def _left(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _note(request: ASGIRequest, spool: Spool | None) -> None:
    if spool is not None:
        request.META[KEY] = spool
        # A chunked body has no Content-Length, and Django would treat it as an empty form.
        request.META["CONTENT_LENGTH"] = str(spool.size)


def _headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    found = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    found += [
        (b"Set-Cookie", each.output(header="").encode("ascii").strip())
        for each in response.cookies.values()
    ]
    return found
