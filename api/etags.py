"""ETags of JSON responses, and `If-Match`."""

import hashlib

from django.utils.http import parse_etags

from common.error_codes import PRECONDITION_FAILED, CodedError

CHARACTERS = 32


def etag_of(content: bytes) -> str:
    """A strong ETag: digest of the bytes before compression."""
    return f'"{hashlib.sha256(content).hexdigest()[:CHARACTERS]}"'


def check_match(header: str | None, etag: str) -> None:
    """Raises CodedError if `If-Match` does not name the present ETag."""
    if header is not None and "*" not in (tags := parse_etags(header)) and etag not in tags:
        raise CodedError(PRECONDITION_FAILED)
