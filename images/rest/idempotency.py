"""Repeated POST requests: a request with a known Idempotency-Key gets the first answer again."""

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.core.files import File
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from api.exceptions import Invalid
from api.media_types import JsonRenderer
from common.error_codes import IDEMPOTENCY_KEY_REUSED, CodedError
from images.models import RepeatableAnswer

HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEPT = timedelta(hours=24)
DROPPED_AT_ONCE = 1_000


def once(request: Request, user: User, make: Callable[[], Response]) -> HttpResponse | Response:
    """Returns the answer of `make` or, for a known key of this user, the earlier answer.

    Key, answer and the data of `make` are committed together, so a second request that arrives
    meanwhile waits for the first. Refusals are not kept: such a request may be sent again. Raises
    Invalid or CodedError.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return make()
    if not KEY.fullmatch(key):
        text = "An Idempotency-Key takes 1 to 255 printable ASCII characters without blanks"
        raise Invalid("value_error", text, "header", HEADER)
    fingerprint = _fingerprint(request)
    if (earlier := _earlier(user, key, fingerprint)) is not None:
        return earlier
    RepeatableAnswer.objects.filter(owner=user, key=key, created_at__lte=_oldest()).delete()
    try:
        with transaction.atomic():
            kept = RepeatableAnswer.objects.create(owner=user, key=key, fingerprint=fingerprint)
            response = make()
            kept.status = response.status_code
            kept.body = JsonRenderer().render(response.data).decode()
            kept.headers = {name: response[name] for name in ("Location",) if name in response}
            kept.save(update_fields=["status", "body", "headers"])
            return response
    except IntegrityError:
        if (earlier := _earlier(user, key, fingerprint)) is None:
            raise
        return earlier


def drop_old_answers() -> None:
    old = RepeatableAnswer.objects.filter(created_at__lte=_oldest())
    keys = list(old.values_list("pk", flat=True)[:DROPPED_AT_ONCE])
    if keys:
        RepeatableAnswer.objects.filter(pk__in=keys).delete()


def _oldest() -> datetime:
    return timezone.now() - KEPT


def _earlier(user: User, key: str, fingerprint: str) -> HttpResponse | None:
    """The stored answer for this user's key. Raises CodedError if the key is of another request."""
    kept = RepeatableAnswer.objects.filter(owner=user, key=key, created_at__gt=_oldest()).first()
    if kept is None:
        return None
    if kept.fingerprint != fingerprint:
        raise CodedError(IDEMPOTENCY_KEY_REUSED)
    headers = {**kept.headers, "Idempotent-Replayed": "true"}
    return HttpResponse(
        kept.body.encode(), status=kept.status, headers=headers, content_type="application/json"
    )


def _fingerprint(request: Request) -> str:
    """A hash of path and content. Forms are compared by their fields, because clients choose new
    boundaries."""
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    for part in _parts(request.data):
        digest.update(part)
    return digest.hexdigest()


def _parts(data: Any) -> Iterator[bytes]:
    if not hasattr(data, "lists"):
        yield orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
        return
    for name, values in sorted(data.lists()):
        for value in values:
            yield orjson.dumps([_plain(name), None if isinstance(value, File) else _plain(value)])
            if isinstance(value, File):
                yield from value.chunks()
                value.seek(0)


def _plain(text: str) -> str:
    return text.encode(errors="surrogateescape").hex()
