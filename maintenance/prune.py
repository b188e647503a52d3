"""Removes what is older than the settings allow: attempts, logs, contexts, keys, audit log,
sessions.

Of an image's current and last good attempt, only log and context are removed. A setting of 0 days
keeps everything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core.files.storage import default_storage
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.models import ApiKey
from builds.models import Build, LogChunk, targets
from builds.status import FINAL
from config.env import Environment, environment

BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of data that can be removed."""

    name: str
    text: str
    """What is removed, in words."""
    days: Callable[[Environment], int]
    """Days that it is kept; 0 means for ever."""
    find: Callable[[datetime], "QuerySet[Any]"]
    """Rows that are older than this time."""
    remove: Callable[[list[Any]], None]
    """Removes a batch of rows."""

    def due(self) -> "QuerySet[Any] | None":
        """Rows older than this are due; None if everything is kept."""
        days = self.days(environment())
        return self.find(timezone.now() - timedelta(days=days)) if days else None


def prune(kind: Kind) -> int:
    """Returns the number of removed rows. Raises OSError if the storage does not answer."""
    due = kind.due()
    removed = 0
    for batch in _batches(due) if due is not None else ():
        kind.remove(batch)
        removed += len(batch)
    return removed


def prune_all() -> None:
    """Called by the housekeeping."""
    for kind in KINDS:
        prune(kind)


def _batches(rows: "QuerySet[Any]") -> Iterator[list[Any]]:
    keys = iter(list(rows.values_list("pk", flat=True)))
    while batch := list(islice(keys, BATCH)):
        yield batch


def _ended(before: datetime) -> "QuerySet[Build]":
    return Build.objects.filter(status__in=FINAL, ended_at__lt=before)


def _superseded(before: datetime) -> "QuerySet[Build]":
    needed = targets().filter(Q(current=OuterRef("pk")) | Q(good=OuterRef("pk")))
    return _ended(before).filter(discarded_at=None).exclude(Exists(needed))


def _discard(keys: list[Any]) -> None:
    """The housekeeping removes their tags, logs and contexts."""
    due = Build.objects.filter(pk__in=keys, discarded_at=None)
    due.update(discarded_at=timezone.now())


def _forget_logs(keys: list[Any]) -> None:
    builds = Build.objects.filter(pk__in=keys)
    archives = list(builds.exclude(archive_key="").values_list("archive_key", flat=True))
    LogChunk.objects.filter(build__in=keys).delete()
    builds.update(
        archive_key="",
        chunks_due_at=None,
        log_lines=0,
        log_chunks=0,
        log_bytes=0,
        log_steps=[],
        gap_start=0,
        gap_stop=0,
    )
    for key in archives:
        default_storage.delete(key)


def _forget_contexts(keys: list[Any]) -> None:
    Build.objects.filter(pk__in=keys).update(context_key="", context_superseded=False)


def _delete(rows: "QuerySet[Any]") -> Callable[[list[Any]], None]:
    def delete(keys: list[Any]) -> None:
        rows.filter(pk__in=keys).delete()

    return delete


KINDS = (
    Kind(
        name="attempts",
        text="attempts that are neither an image's current one nor its last good one, with their "
        "tags, logs and contexts",
        days=lambda env: env.keep_attempts_days,
        find=_superseded,
        remove=_discard,
    ),
    Kind(
        name="history",
        text="rows of attempts of which nothing else is left",
        days=lambda env: env.keep_attempts_days,
        find=lambda before: Build.objects.filter(purged_at__lt=before, ended_at__lt=before),
        remove=_delete(Build.objects.all()),
    ),
    Kind(
        name="logs",
        text="logs of ended attempts",
        days=lambda env: env.keep_logs_days,
        find=lambda before: _ended(before).filter(log_lines__gt=0),
        remove=_forget_logs,
    ),
    Kind(
        name="contexts",
        text="contexts of ended attempts: these cannot be built again",
        days=lambda env: env.keep_contexts_days,
        find=lambda before: _ended(before).exclude(context_key=""),
        remove=_forget_contexts,
    ),
    Kind(
        name="audit",
        text="entries of the audit log",
        days=lambda env: env.keep_audit_days,
        find=lambda before: LogEntry.objects.filter(action_time__lt=before),
        remove=_delete(LogEntry.objects.all()),
    ),
    Kind(
        name="keys",
        text="API keys that were revoked or have expired",
        days=lambda env: env.keep_keys_days,
        find=lambda before: ApiKey.objects.filter(
            Q(revoked_at__lt=before) | Q(expires_at__lt=before)
        ),
        remove=_delete(ApiKey.objects.all()),
    ),
    Kind(
        name="sessions",
        text="sessions that have expired",
        days=lambda env: 1,
        find=lambda before: Session.objects.filter(expire_date__lt=before),
        remove=_delete(Session.objects.all()),
    ),
)
