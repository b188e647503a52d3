"""Moves logs of ended builds from chunks to archive files. Chunks are deleted later.

An archive is written, read back and verified, then set on the build. Every function is safe to run
twice and in several processes at once: the update of the build decides, and a duplicate archive is
deleted.
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
"""Time limit of one call, as other housekeeping tasks wait for it."""
OTHERS_AFTER_LEASES = 3
"""For this many lease periods, a log is left to the worker that wrote it. Then any worker may
archive it."""
CHUNKS_STAY = timedelta(hours=1)
"""Keep chunks for readers that started before the archive existed."""
logger = getLogger(__name__)


def archive_ended(*, worker: str) -> None:
    """Archive logs of ended builds, oldest first, for about `TURN_SECONDS`. `worker` is the
    caller's name."""
    until = monotonic() + TURN_SECONDS
    ended = Build.objects.light().to_archive()
    if build_settings().redis_url:  # without Redis there are no other live workers
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
    """Archive an ended build's log. False if it was no longer needed. Raises BadArchive or
    OSError."""
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
    """Delete chunks whose lines have been archived for longer than `CHUNKS_STAY`."""
    due = Build.objects.filter(chunks_due_at__lt=timezone.now()).order_by("chunks_due_at")
    for build_id in due.values_list("pk", flat=True)[:100]:
        LogChunk.objects.filter(build_id=build_id).delete()
        Build.objects.filter(pk=build_id).update(chunks_due_at=None)


def _write(build: Build, file: IO[bytes]) -> int:
    """Write the archive to `file`. Returns the CRC-32 of the text."""
    writer = FrameWriter(file)
    crc = 0
    for line, span in _lines(build):
        writer.add(line, span=span)
        crc = crc32(f"{line.text}\n".encode(), crc)
    writer.finish()
    return crc


def _lines(build: Build) -> Iterator[tuple[LogLine, int]]:
    """All stored lines, each with the number of lines that it stands for. Raises BadArchive."""
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
    """Read the archive back from the storage and compare. Raises BadArchive."""
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
