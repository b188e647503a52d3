"""The OpenAPI document and the page that shows it."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from api.views import OpenView


class HotkeyScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.authentication.HotkeyAuthentication"
    name = ["Hotkey", "Nonce", "Signature"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        texts = {
            "X-Chutes-Hotkey": "The ss58 address of an sr25519 key.",
            "X-Chutes-Nonce": "The time in seconds since 1970, off by less than 600.",
            "X-Chutes-Signature": "In hex, of `hotkey:nonce:purpose` for GET and DELETE (`images`, "
            "`api_keys` or `me`), else of `hotkey:nonce:` and the hex SHA-256 of the body. Good "
            "once.",
        }
        return [
            {"type": "apiKey", "in": "header", "name": name, "description": text}
            for name, text in texts.items()
        ]


class KeyScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.authentication.KeyAuthentication"
    name = "Bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        text = "An API key: `Authorization: Bearer cpk_…`."
        return {"type": "http", "scheme": "bearer", "bearerFormat": "cpk_…", "description": text}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "rest_framework.authentication.SessionAuthentication"
    name = "Session"
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        text = "The session of a browser. Changes need the header `X-CSRFToken` too."
        name = settings.SESSION_COOKIE_NAME
        return {"type": "apiKey", "in": "cookie", "name": name, "description": text}


class DescriptionView(OpenView):
    @extend_schema(exclude=True)
    def retrieve(self, request: Request) -> Response:
        return Response(description())


@cache
def description() -> Any:
    """The OpenAPI document: slow to generate, and the same for every caller."""
    return SchemaGenerator().get_schema(request=None, public=True)


class DocsView(OpenView):
    @extend_schema(exclude=True)
    def retrieve(self, request: Request) -> HttpResponse:
        return render(request, "docs.html")
