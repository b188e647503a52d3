"""Moves ended logs from chunks into files: written, read back, pointed to; the chunks go later.

Every function is safe to run twice and in several processes at once: what is done double is thrown
away, and the pointer on the build decides.
"""

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from logging import getLogger
from time import monotonic
from typing import IO
from uuid import uuid4
from zlib import crc32

from django.core.files import File
from django.core.files.storage import default_storage
from django.db.models import Q
from django.utils import timezone

from builds.conf import build_settings
from builds.logs.archive_format import BadArchive, FrameWriter, Index
from builds.logs.lines import LogLine
from builds.logs.reader import chunks_from, left_out
from builds.logs.store import decode
from builds.models import Build, LogChunk
from common.outages import StorageAway

FOLDER = "logs"
TURN_SECONDS = 3.0
"""So long one turn may take, as others of the housekeeping wait for it."""
OTHERS_AFTER_LEASES = 3
"""So many times a lease a log is left to the process that wrote it, which may be dead."""
CHUNKS_STAY = timedelta(hours=1)
"""For readers that began before the archive was there."""
logger = getLogger(__name__)


def archive_ended(*, worker: str) -> None:
    """Archives what has ended, the oldest first, for about one turn of that worker."""
    until = monotonic() + TURN_SECONDS
    ended = Build.objects.light().to_archive()
    if build_settings().redis_url:  # else all others are dead
        patience = timedelta(seconds=OTHERS_AFTER_LEASES * build_settings().lease_seconds)
        ended = ended.filter(Q(worker=worker) | Q(ended_at__lt=timezone.now() - patience))
    for build in ended.order_by("ended_at")[:50]:
        try:
            archive(build)
        except StorageAway as problem:
            logger.warning("logs are not archived: the storage is away: %s", problem)
            return
        except (BadArchive, OSError):
            logger.exception("the log of build %s could not be archived yet", build.pk)
        if monotonic() > until:
            return


def archive(build: Build) -> bool:
    """Of an ended build; False where it was no longer needed. Raises BadArchive or OSError."""
    key = f"{FOLDER}/{build.pk.hex}-{uuid4().hex[:8]}.zst"
    with tempfile.TemporaryFile() as file:
        crc = _write(build, file)
        file.seek(0)
        stored = default_storage.save(key, File(file))
    try:
        _verify(build, stored, crc)
        due = timezone.now() + CHUNKS_STAY
        wanted = Build.objects.to_archive().filter(pk=build.pk)
        if wanted.update(archive_key=stored, chunks_due_at=due):
            return True
    except BaseException:
        default_storage.delete(stored)
        raise
    default_storage.delete(stored)
    return False


def drop_due_chunks() -> None:
    """Removes chunks whose lines have been in an archive for long enough."""
    due = Build.objects.filter(chunks_due_at__lt=timezone.now()).order_by("chunks_due_at")
    for build_id in due.values_list("pk", flat=True)[:100]:
        LogChunk.objects.filter(build_id=build_id).delete()
        Build.objects.filter(pk=build_id).update(chunks_due_at=None)


def _write(build: Build, file: IO[bytes]) -> int:
    """Returns the crc of the text."""
    writer = FrameWriter(file)
    crc = 0
    for line, span in _lines(build):
        writer.add(line, span=span)
        crc = crc32(f"{line.text}\n".encode(), crc)
    writer.finish()
    return crc


def _lines(build: Build) -> Iterator[tuple[LogLine, int]]:
    """All that is stored, and for each how many it stands for. Raises BadArchive."""
    at = 0
    for chunk in chunks_from(build, 0).iterator(chunk_size=64):
        if at == build.gap_start < build.gap_stop == chunk.first_line:
            yield left_out(build, at), build.gap_stop - at
            at = build.gap_stop
        if chunk.first_line != at:
            raise BadArchive(f"lines from {at} to {chunk.first_line} are not there")
        for line in decode(bytes(chunk.data)):
            yield line, 1
        at += chunk.lines
    if at != build.log_lines:
        raise BadArchive(f"there are {at} lines, not {build.log_lines}")


def _verify(build: Build, key: str, crc: int) -> None:
    """Reads what the storage has. Raises BadArchive."""
    found = at = 0
    with default_storage.open(key) as file:
        index = Index.read(file)
        for frame in index.frames:
            if frame.first != at or len(index.lines(file, frame)) != frame.lines:
                raise BadArchive(f"the lines from {at} on are not there")
            found = crc32(index.text(file, frame), found)
            at = frame.stop
    if at != build.log_lines or found != crc:
        raise BadArchive(
            f"what was stored is not what was written {at} {build.log_lines} {found} {crc}"
        )
