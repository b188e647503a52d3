"""Files in a bucket of S3 or a compatible server. Imported only if a bucket is configured."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files import File
from storages.backends.s3 import S3Storage
from urllib3.exceptions import HTTPError as URLError

from common.outages import StorageAway

LEAST, MOST = 64 * 1024, 8 * 1024 * 1024
"""Size in bytes of ranged reads: starts at `LEAST`, doubles while reads are sequential, up to
`MOST`."""
MISSING, PAST_THE_END = 404, 416


class Bucket(S3Storage):
    """Files in one bucket. Every error is raised as an OSError, as with a folder."""

    shared = True

    def __init__(self, *, endpoint: str, region: str, **options: Any) -> None:
        super().__init__(
            endpoint_url=endpoint or None,
            region_name=region or None,
            client_config=Config(
                # Self-hosted servers often have no DNS name per bucket.
                s3={"addressing_style": "path" if endpoint else "auto"},
                signature_version="s3v4",
                connect_timeout=5,
                read_timeout=30,
                retries={"mode": "standard", "max_attempts": 4},
                # Not every S3-compatible server supports AWS's checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
            **options,
        )

    def old(self, folder: str, *, before: datetime) -> Iterator[str]:
        """See `storage.interface.Files`."""
        with _as_os_errors():
            prefix = self._normalize_name(folder)
            for each in self.bucket.objects.filter(Prefix=f"{prefix}/"):
                if each.last_modified < before:
                    yield f"{folder}/{each.key.rpartition('/')[2]}"

    def answer(self) -> None:
        """See `storage.interface.Files`."""
        with _as_os_errors():
            self.bucket.meta.client.head_bucket(Bucket=self.bucket_name)

    def exists(self, name: str) -> bool:
        with _as_os_errors():
            return bool(super().exists(name))

    def delete(self, name: str) -> None:
        with _as_os_errors():
            super().delete(name)

    def _save(self, name: str, content: "File[bytes]") -> str:
        with _as_os_errors():
            saved: str = super()._save(name, content)
            return saved

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        object_ = self.bucket.Object(self._normalize_name(name))

        def get(start: int, stop: int) -> bytes:
            with _as_os_errors():
                try:
                    body: bytes = object_.get(Range=f"bytes={start}-{stop - 1}")["Body"].read()
                except ClientError as problem:
                    if _status(problem) == PAST_THE_END:
                        return b""
                    raise
                return body

        def size() -> int:
            with _as_os_errors():
                found: int = object_.content_length
                return found

        reader: IO[bytes] = io.BufferedReader(Ranges(get, size), LEAST)
        return File(reader, name)


class Ranges(io.RawIOBase):
    """Read-only, seekable file over ranged reads. Skipped bytes are not fetched. Reads past the end
    return no bytes."""

    def __init__(self, get: Callable[[int, int], bytes], size: Callable[[], int]) -> None:
        self._get, self._size = get, size
        self._at = self._held_at = 0
        self._held = b""
        self._window = LEAST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        match whence:
            case os.SEEK_CUR:
                offset += self._at
            case os.SEEK_END:
                offset += self._size()
        self._at = max(0, offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if not self._held_at <= self._at < self._held_at + len(self._held):
            on = self._at == self._held_at + len(self._held) > 0
            self._window = min(2 * self._window, MOST) if on else LEAST
            self._held = self._get(self._at, self._at + self._window)
            self._held_at = self._at
        start = self._at - self._held_at
        found = self._held[start : start + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Convert errors of the S3 client to FileNotFoundError (404) or StorageAway (all others)."""
    try:
        yield
    except ClientError as problem:
        kind = FileNotFoundError if _status(problem) == MISSING else StorageAway
        raise kind(str(problem)) from problem
    except (BotoCoreError, Boto3Error, URLError) as problem:
        raise StorageAway(str(problem)) from problem


def _status(problem: ClientError) -> int:
    status: int = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status
