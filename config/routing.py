"""Routes of websockets."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import URLRouter
from django.urls import path

from images.live.consumers import ImagesSocket, LogSocket

ROUTER = URLRouter(
    [
        path("ws/images", ImagesSocket.as_asgi()),
        path("ws/images/<uuid:image_id>/logs", LogSocket.as_asgi()),
    ]
)
Event = dict[str, Any]


async def websockets(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Event]],
    send: Callable[[Event], Awaitable[None]],
) -> None:
    """The websocket application. Connections to unknown paths are refused."""
    try:
        await ROUTER(scope, receive, send)
    except ValueError as problem:
        if not str(problem).startswith("No route found"):
            raise
        await send({"type": "websocket.close"})
