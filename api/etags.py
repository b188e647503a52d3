"""Entity tags of answers in JSON, and `If-Match`."""

import hashlib

from django.utils.http import parse_etags

from common.error_codes import PRECONDITION_FAILED, CodedError

CHARACTERS = 32


def etag_of(content: bytes) -> str:
    """Strong: of the bytes before any compression."""
    return f'"{hashlib.sha256(content).hexdigest()[:CHARACTERS]}"'


def check_match(header: str | None, etag: str) -> None:
    """Raises CodedError where `If-Match` names other states than the present one."""
    if header is not None and "*" not in (tags := parse_etags(header)) and etag not in tags:
        raise CodedError(PRECONDITION_FAILED)
