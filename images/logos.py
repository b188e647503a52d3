"""Logos: every picture is converted to a small webp before it is stored."""

import io
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import IO
from uuid import UUID

import PIL.Image
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from PIL import ImageOps

from accounts.models import User
from common import error_codes
from common.error_codes import CodedError
from images.models import Logo
from images.quota import rate_limit

BYTES = 5 * 1024 * 1024
PIXELS = 16 * 1024 * 1024
"""Largest unpacked size. A small file may claim to be an enormous picture."""
SIDE = 512
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
WINDOW = timedelta(hours=24)
MOST = 100
"""Most uploads in 24 hours: logos are kept for a while even if no image uses them."""
FOLDER = "logos"
UNUSED_AFTER = timedelta(days=7)


class NotALogo(ValueError):
    """The file is not a supported picture. The text says what is supported."""


class TooManyLogos(CodedError):
    """The user sent more than MOST logos within 24 hours."""

    kind = error_codes.LOGOS_EXCEEDED


def add(*, owner: User, file: IO[bytes]) -> Logo:
    """Converts and stores a picture. Raises NotALogo or TooManyLogos; then nothing is kept."""
    since = timezone.now() - WINDOW
    if Logo.objects.filter(owner=owner, created_at__gt=since).count() >= MOST:
        seconds = round(WINDOW.total_seconds())
        raise TooManyLogos(
            limit=MOST, headers={"Retry-After": str(seconds), **rate_limit(MOST, 0, seconds)}
        )
    logo = Logo(owner=owner)
    default_storage.save(logo.path, ContentFile(draw(file)))
    logo.save(force_insert=True)
    return logo


def drop_unused() -> None:
    """Deletes the rows of logos that no image uses a week after the upload. Their files are
    removed later."""
    old = Logo.objects.filter(images=None, created_at__lt=timezone.now() - UNUSED_AFTER)
    for logo in old[:1_000]:
        # An image that starts to use the logo at this moment keeps it.
        with suppress(ProtectedError, IntegrityError), transaction.atomic():
            logo.delete()


def named(keys: Collection[str]) -> set[str]:
    """The stored files that are logos."""
    ids = []
    for key in keys:
        with suppress(ValueError):
            ids.append(UUID(key.removeprefix(f"{FOLDER}/").removesuffix(".webp")))
    return {logo.path for logo in Logo.objects.filter(pk__in=ids)}


def draw(file: IO[bytes]) -> bytes:
    """The picture as webp, no side longer than SIDE, without any other data of the file."""
    made = io.BytesIO()
    try:
        with PIL.Image.open(file, formats=FORMATS) as picture:
            _check_size(picture)
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
            upright.thumbnail((SIDE, SIDE))
            upright.save(made, "WEBP", exif=b"", icc_profile=b"", xmp=b"")
    except NotALogo:
        raise
    except Exception as problem:
        raise NotALogo(f"is no picture that can be read: {', '.join(FORMATS)} can") from problem
    return made.getvalue()


def _check_size(picture: PIL.Image.Image) -> None:
    if picture.width * picture.height > PIXELS:
        raise NotALogo(f"has more than {PIXELS} pixels")
