"""`/registry/token`: tokens for the registry (the distribution token protocol, both its forms)."""

import base64
import binascii
from typing import cast

from django.http import QueryDict
from django.utils import timezone
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.parsers import FormParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import ApiKey
from builds.conf import build_settings
from builds.registry import make_signer
from builds.registry.tokens import (
    PULL,
    SERVICE,
    TOKEN_SECONDS,
    WORKER,
    BadScope,
    read_scopes,
)
from registry_gateway.pull_access import Puller

CHALLENGE = 'Basic realm="slipway"'
WRONG = "Log in with a user's name and an API key of that user as the password"
UNREADING = "This API key may not read images"


class BadRequest(APIException):
    status_code = 400


class RegistryToken(APIView):
    """Issues a token for the requested repositories that the caller may pull from.

    Only workers may do more than pull. They authenticate with a credential made by Slipway.
    """

    authentication_classes = ()
    permission_classes = ()
    parser_classes = (FormParser,)
    schema = None

    def get(self, request: Request) -> Response:
        return self.answer(request.query_params, _basic(request.headers.get("Authorization", "")))

    def post(self, request: Request) -> Response:
        """The OAuth 2 form of the protocol: some clients send the password in the body."""
        asked = cast("QueryDict", request.data)
        if asked.get("grant_type") != "password":
            raise BadRequest("grant_type takes password; there are no refresh tokens here")
        return self.answer(asked, (asked.get("username", ""), asked.get("password", "")))

    def answer(self, asked: QueryDict, given: tuple[str, str] | None) -> Response:
        if asked.get("service", SERVICE) != SERVICE:
            raise BadRequest(f"service takes {SERVICE}")
        try:
            wanted = read_scopes(" ".join(asked.getlist("scope")))
        except BadScope as problem:
            raise BadRequest(str(problem)) from problem
        signer = make_signer(build_settings())
        subject = signer.named_by(given[1]) if given else ""
        if subject == WORKER:
            token = signer.token(WORKER, wanted)
        else:
            puller = Puller.named(subject) if subject is not None else _holder(given or ("", ""))
            if puller is None:
                raise AuthenticationFailed(WRONG)
            pulls = {name for name, actions in wanted.items() if PULL in actions}
            granted = {name: [PULL] for name in sorted(pulls) if puller.may_pull(name)}
            token = signer.token(puller.subject, granted)
        answer = {"token": token, "access_token": token, "expires_in": TOKEN_SECONDS}
        # Some clients cannot parse Python's microseconds.
        now = timezone.now().replace(microsecond=0)
        return Response(
            {**answer, "issued_at": now.isoformat().replace("+00:00", "Z")},
            headers={"Cache-Control": "no-store"},
        )

    def get_authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _basic(header: str) -> tuple[str, str] | None:
    """Parse a Basic header into name and password. None if it is empty.

    Raises AuthenticationFailed.
    """
    if not header:
        return None
    scheme, _, pair = header.partition(" ")
    try:
        name, colon, password = base64.b64decode(pair, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise AuthenticationFailed(WRONG) from None
    if scheme.lower() != "basic" or not colon:
        raise AuthenticationFailed(WRONG)
    return name, password


def _holder(given: tuple[str, str]) -> Puller | None:
    name, password = given
    key = ApiKey.objects.named_by(password)
    if key is None or key.user.username.lower() != name.lower():
        return None
    puller = Puller.with_key(key)
    if not puller.reads:
        raise AuthenticationFailed(UNREADING)
    key.note_use()
    return puller
