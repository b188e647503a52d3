"""Deletes stored files without a database row; late, so that a restored database finds its files.

A database restored from a backup lacks rows for files that were stored since, and still has rows
for files that were given up since. So a file is deleted only if two scans, further apart than the
age of a usable backup, both found no reference. The first scan is recorded in the database.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from logging import getLogger
from uuid import UUID

from django.core.files.storage import default_storage
from django.utils import timezone

from builds.conf import build_settings
from builds.logs.archive import FOLDER as LOGS
from builds.models import Build, UnreferencedFile
from storage.interface import files

CONTEXTS = "contexts"
UNDER_WAY = timedelta(hours=1)
"""Minimum age of files: younger ones may belong to an open transaction."""
BATCH = 100
"""Keys per query: with more, PostgreSQL does not use the partial index."""
DAY = 86_400.0
FindNamed = Callable[[Collection[str]], set[str]]
"""Returns those of the keys that a database row references."""
logger = getLogger(__name__)


def drop_unreferenced(folders: Mapping[str, FindNamed]) -> None:
    """Scan these folders once, and delete files that have been unreferenced for long enough."""
    before = timezone.now() - UNDER_WAY
    kept = build_settings().keep_files_days * DAY
    removed = 0
    for folder, named in folders.items():
        old = files().old(folder, before=before)
        while keys := set(islice(old, BATCH)):
            removed += _look(keys, named(keys), kept)
    if removed:
        logger.info("removed %d files that nothing has named for long", removed)
    # Rows of files that were deleted by other means.
    UnreferencedFile.objects.older_than(kept + DAY).delete()


def _look(keys: set[str], named: set[str], kept: float) -> int:
    unreferenced = keys - named
    UnreferencedFile.objects.filter(key__in=named).delete()
    found = UnreferencedFile.objects.filter(key__in=unreferenced)
    due = list(found.older_than(kept).values_list("key", flat=True))
    known = set(found.values_list("key", flat=True))
    UnreferencedFile.objects.bulk_create(
        [UnreferencedFile(key=key) for key in unreferenced - known], ignore_conflicts=True
    )
    for key in due:
        default_storage.delete(key)
    UnreferencedFile.objects.filter(key__in=due).delete()
    return len(due)


def named_contexts(keys: Collection[str]) -> set[str]:
    """Keys of contexts that builds reference."""
    named = Build.objects.filter(context_key__in=keys)
    return set(named.values_list("context_key", flat=True))


def named_logs(keys: Collection[str]) -> set[str]:
    """Keys of archives that builds reference. A file's name begins with its build's id."""
    ids = []
    for key in keys:
        with suppress(ValueError):
            ids.append(UUID(key.removeprefix(f"{LOGS}/").partition("-")[0]))
    return set(Build.objects.filter(pk__in=ids).values_list("archive_key", flat=True))


OF_BUILDS: Mapping[str, FindNamed] = {CONTEXTS: named_contexts, LOGS: named_logs}
