"""Responses that are computed asynchronously after the view returns, without blocking a thread."""

from collections.abc import AsyncIterator, Awaitable, Callable

from django.http import HttpResponse, StreamingHttpResponse


class LaterResponse(StreamingHttpResponse):
    """A response whose content `make` computes in the event loop.

    Our web server sends that response with its own status, and with the headers that middleware set
    on this one. Other servers send its content with status 200.
    """

    def __init__(self, make: Callable[[], Awaitable[HttpResponse]]) -> None:
        async def content() -> AsyncIterator[bytes]:
            yield (await make()).content

        super().__init__(content(), content_type="application/json")
        self._make = make

    async def made(self) -> HttpResponse:
        """Await the response, with the headers and cookies of this one."""
        response = await self._make()
        for name, value in self.items():
            response.headers.setdefault(name, value)
        response.cookies = self.cookies
        response.headers["Content-Length"] = str(len(response.content))
        return response
