"""Rows of the queue, without anything that is built."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models import Count, Q
from django.utils import timezone

from builds.models import Build, QueueLine, QueueOwner, Worker
from builds.models.clock import Now
from builds.status import RUNNING, Status
from builds.worker import ThisWorker

OLD = timezone.now() - timedelta(hours=1)


def queue(owner: UUID, count: int = 1, **values: Any) -> list[Build]:
    """So many builds of an owner, each queued a second after the one before it."""
    first = Build.objects.count()
    builds = [
        Build(
            **{
                "image_id": uuid4(),
                "owner_id": owner,
                "label": f"{str(owner)[:8]}/app:{first + number}",
                "number": 1,
                "dockerfile": "FROM scratch",
                "context_sha256": "0" * 64,
                "context_bytes": 1,
                "queued_at": OLD + timedelta(seconds=first + number),
                **values,
            }
        )
        for number in range(count)
    ]
    return Build.objects.bulk_create(builds)


def took(owner: UUID, *seconds: float, image_id: UUID | None = None) -> None:
    """Builds that ended lately, after so many seconds each."""
    end = timezone.now()
    for each in seconds:
        queue(
            owner,
            status="succeeded",
            started_at=end - timedelta(seconds=each),
            ended_at=end,
            number=Build.objects.next_number(image_id) if image_id else 1,
            **({"image_id": image_id} if image_id else {}),
        )


def worker_row(name: str = "host:1:aa", threads: int = 1, **values: Any) -> Worker:
    now = timezone.now()
    row = Worker.objects.create(
        name=name, host="host", pid=1, threads=threads, started_at=now, seen_at=now, **values
    )
    Worker.objects.filter(pk=row.pk).update(seen_at=Now())
    return row


def take(worker: ThisWorker) -> Build | None:
    """What it takes next; it runs on without being held."""
    build_id = worker.next()
    if build_id is None:
        return None
    with worker.claim(build_id) as build:
        return build


def end(build: Build, status: str = "succeeded") -> None:
    Build.objects.filter(pk=build.pk).update(status=status, ended_at=timezone.now())


def kept() -> tuple[dict[UUID, int], dict[tuple[UUID, str], int]]:
    """What the triggers keep: running by owner, waiting by owner and class."""
    running = QueueOwner.objects.exclude(running=0).values_list("pk", "running")
    lines = QueueLine.objects.values_list("owner_id", "resource_class", "waiting")
    return dict(running), {(owner, name): waiting for owner, name, waiting in lines}


def counted() -> tuple[dict[UUID, int], dict[tuple[UUID, str], int]]:
    """The same, counted."""
    running = Build.objects.filter(status__in=[each.value for each in RUNNING])
    waiting = Build.objects.filter(Q(status=Status.QUEUED, front=0, not_before=None))
    by_owner = running.values_list("owner_id").annotate(Count("pk")).order_by()
    by_line = waiting.values_list("owner_id", "resource_class").annotate(n=Count("pk")).order_by()
    return dict(by_owner), {(owner, name): number for owner, name, number in by_line}
