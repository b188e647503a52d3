"""A process of its own for test_serve.py: serves a small Django site and tells its port.

Called with a JSON object of serve()'s options, as nothing else shows how much memory it takes.
"""
# ruff: noqa: E402 - Django wants its settings before its modules

import asyncio
import gc
import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from django.conf import settings

options = json.loads(sys.argv[1])
spool_dir = Path(options.pop("spool_dir"))
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for a test",
    FILE_UPLOAD_TEMP_DIR=spool_dir,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
)

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict, StreamingHttpResponse
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.error_codes import UNAUTHORIZED
from webserver.connection import Refusal, refusal
from webserver.handler import Handler
from webserver.server import serve
from webserver.upload_budget import Allowed, Uploads

django.setup()
gc.disable()  # what ends with a request ends by itself
ended: list[str] = []
asked: list[str] = []


class Upload(APIView):
    def post(self, request: Request) -> Response:
        body = request.META.get("slipway.body")
        hashed = body and body.sha256()
        form = cast(QueryDict, request.data)
        return Response(
            {
                "sha256": hashed,
                "size": body and body.size,
                "fields": {name: value for name, value in form.items() if name != "file"},
                "files": {
                    name: [each.size, hashlib.file_digest(each, "sha256").hexdigest()]
                    for name, each in request.FILES.items()
                },
                "on_disk": [
                    hasattr(each, "temporary_file_path") for each in request.FILES.values()
                ],
            }
        )


def memory(request: HttpRequest) -> JsonResponse:
    """Answers the peak since the last call, in bytes, and starts a new one."""
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak
    Path("/proc/self/clear_refs").write_text("5")
    return JsonResponse({"peak": int(peak[1]) * 1024})


def seen(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"ended": ended, "asked": asked, "method": request.method})


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def nap(request: HttpRequest) -> HttpResponse:
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("rested")


def crash(request: HttpRequest) -> HttpResponse:
    raise ValueError("a fault of the application")


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Streams `mb` times 1 MB, or a line ten times a second for ever."""

    async def lines() -> AsyncIterator[bytes]:
        try:
            for _ in range(int(request.GET.get("mb", 0))):
                yield bytes(1_000_000)
            while "mb" not in request.GET:
                yield b": tick\n\n"
                await asyncio.sleep(0.1)
        finally:
            ended.append(request.GET["name"])

    return StreamingHttpResponse(lines(), content_type="text/event-stream")


async def crowd(request: HttpRequest) -> HttpResponse:
    """Holds the loop while threads call it more often than its pipe can tell, and is signalled."""
    loop = asyncio.get_running_loop()
    caller = threading.Thread(target=lambda: [loop.call_soon_threadsafe(int) for _ in range(5000)])
    caller.start()
    caller.join()
    os.kill(os.getpid(), signal.SIGTERM)
    return HttpResponse("signalled")


async def rough(path: str, send: Any) -> None:
    """Not Django: sends much at once, breaks off in the middle of an answer, or before it."""
    if path != "/broken":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    if path == "/whole":
        await send({"type": "http.response.body", "body": bytes(5_000_000)})
        return
    if path == "/half":
        await send({"type": "http.response.body", "body": b"the first ", "more_body": True})
    raise ValueError("a fault of the application")


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data and text_data.isdigit():
            try:
                for _ in range(int(text_data)):
                    await self.send(bytes_data=bytes(1_000_000))
            finally:
                ended.append("socket")
        elif text_data == "close":
            await self.close(1011)
        else:
            await self.send(text_data=text_data)

    async def disconnect(self, code: int) -> None:
        ended.append(f"socket {code}")


urlpatterns = [
    path("upload", Upload.as_view()),
    path("echo", echo),
    path("nap", nap),
    path("crash", crash),
    path("crowd", crowd),
    path("memory", memory),
    path("seen", seen),
    path("stream", stream),
]
site = Handler()


async def web(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] in ("/whole", "/half", "/broken"):
        await rough(scope["path"], send)
    else:
        await site(scope, receive, send)


def check(headers: dict[str, str], method: str, path: str) -> Refusal | Allowed:
    asked.append(f"{method} {path}")
    time.sleep(float(headers.get("x-think", 0)))
    if "x-fault" in headers:
        raise ValueError("a fault of the check")
    if "x-unknown" in headers:
        return refusal(UNAUTHORIZED, "Unknown.", [("WWW-Authenticate", "Bearer")])
    if limit := int(headers.get("x-limit", 0)):
        return Allowed(limit, headers.get("x-caller", ""))
    return Allowed(sys.maxsize, "somebody")


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if options.pop("asks", True):
    options["check"] = check
budget = {"total": sys.maxsize, "per_caller": sys.maxsize, "free": 0, **options.pop("budget", {})}
serve(
    ProtocolTypeRouter({"http": web, "websocket": Echo.as_asgi()}),
    host="127.0.0.1",
    uploads=Uploads(spool_dir, **budget),
    ready=lambda port: say(str(port)),
    on_stop=lambda: say(f"stopped after {ended}"),
    **options,
)
