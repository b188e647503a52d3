"""Builds: one attempt at an image each. Their rows are the queue, the history and heads of logs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import models, transaction
from django.db.models import Exists, Max, OuterRef, Q
from django.utils import timezone

from builds.build_spec import DEFAULT_CLASS
from builds.list_indexes import LISTED_BY
from builds.models.clock import Now, from_now
from builds.models.targets import Target, targets
from builds.models.workers import Pause, Worker
from builds.status import FINAL, Status, api_word, sources, state_word

# In the order in which the conditions of indexes name them.
_RUNNING = ("building", "pushing", "cancelling")
_ENDED = ("succeeded", "failed", "cancelled", "lost")
STATUSES = [(status.value, status.value) for status in Status]

LONG = (
    *("dockerfile", "build_args", "labels", "contents"),
    *("log_steps", "step_list", "step_times"),
)
"""Fields that only some need, and that may be long."""

ELSEWHERE_SECONDS = 10
"""For which a build is left to other workers than the one at which it failed."""


def milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return max(0, (end - start) // timedelta(milliseconds=1))


def step_facts(
    step_list: Sequence[Sequence[Any]], step_times: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    """Each step with its state, as clients are told."""
    return [
        {
            "number": number,
            "stage": stage,
            "dockerfile_line": line,
            "text": text,
            "state": state,
            "started": started,
            "ended": ended,
        }
        for (number, stage, line, text), (state, started, ended) in zip(
            step_list, step_times, strict=False
        )
    ]


class BuildQuerySet(models.QuerySet["Build"]):
    def move(self, to: Status, **values: Any) -> int:
        """One conditional UPDATE; the number of rows that could make the move decides the race.

        Where people have another word for it, targets say so from the same moment on. Whoever holds
        a target and its build has locked the target first.
        """
        word, movable = state_word(to), self.filter(status__in=sources(to))
        if all(state_word(source) == word for source in sources(to)):
            return movable.update(status=to, **values)
        with transaction.atomic():
            standing = targets().select_for_update().filter(current__in=self)
            held = list(standing.values_list("pk", flat=True))
            moved = movable.update(status=to, **values)
            targets().filter(pk__in=held, current__status=to).update(state=word)
        return moved

    def held_by(self, build: "Build") -> "BuildQuerySet":
        """That build, as long as this claim on it stands."""
        return self.filter(pk=build.pk, fence=build.fence)

    def light(self) -> "BuildQuerySet":
        """Without the texts that only some need, which may be long."""
        return self.defer(*LONG)

    def with_step_times(self) -> "BuildQuerySet":
        """As `light`, with how its steps stand."""
        return self.defer(*(each for each in LONG if each != "step_times"))

    def running(self) -> "BuildQuerySet":
        return self.filter(status__one_of=_RUNNING)

    def expired(self) -> "BuildQuerySet":
        """Running, but whoever ran it has not been heard of in time."""
        return self.running().filter(lease_until__lt=Now())

    def waiting(self) -> "BuildQuerySet":
        """All that wait, with builds that are not due yet, by age; those at the front come first.

        Turns decide who goes next: `builds.queue`.
        """
        return self.filter(status__one_of=("queued",)).order_by("front", "queued_at", "id")

    def open_to(self, worker: str) -> "BuildQuerySet":
        """Those that this worker may take now; none while the queue is paused or it drains.

        A build that failed at this worker is left to others at first, where there are any.
        """
        draining = Worker.objects.draining().filter(pk=worker)
        others = Worker.objects.taking().exclude(pk=worker)
        failed_here = Q(avoid_worker=worker, not_before__gt=from_now(-ELSEWHERE_SECONDS))
        return (
            self.filter(Q(not_before=None) | Q(not_before__lte=Now()))
            .exclude(Exists(Pause.objects.all()))
            .exclude(Exists(draining))
            .exclude(failed_here & Exists(others))
        )

    def to_purge(self) -> "BuildQuerySet":
        """Ended, its image gone, and something of it may still stand somewhere."""
        return self.filter(discarded_at__isnull=False, purged_at=None, status__in=FINAL)

    def to_archive(self) -> "BuildQuerySet":
        """Ended, with a log that only chunks have."""
        ended = self.filter(status__one_of=_ENDED)
        return ended.filter(archive_key="", discarded_at=None, log_lines__gt=0)

    def charged_since(self, owner_id: UUID | OuterRef, since: datetime) -> "BuildQuerySet":
        """What counts against an owner's quota: our own restarts do not."""
        return self.filter(owner_id=owner_id, queued_at__gt=since, free=False)

    def next_number(self, image_id: UUID) -> int:
        found: int | None = self.filter(image_id=image_id).aggregate(last=Max("number"))["last"]
        return (found or 0) + 1


class Build(models.Model):
    """One attempt at an image. Its history outlives the image."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    image_id = models.UUIDField()
    owner_id = models.UUIDField()
    label = models.CharField(max_length=400)
    """`owner/name:tag`, for people."""
    number = models.PositiveIntegerField()

    dockerfile = models.TextField()
    """Blank before it was read where it is in the context."""
    dockerfile_path = models.CharField(max_length=1024, blank=True, default="")
    """In the context; blank where it was sent beside it."""
    build_args = models.JSONField(default=dict)
    target = models.CharField(max_length=128, blank=True, default="")
    """The stage to build; blank for the last one."""
    no_cache = models.BooleanField(default=False)
    pull = models.BooleanField(default=False)
    labels = models.JSONField(default=dict)
    resource_class = models.CharField(
        max_length=40, default=DEFAULT_CLASS, db_default=DEFAULT_CLASS
    )
    context_key = models.CharField(max_length=200, blank=True)
    """In the default storage; blank once it has been removed."""
    context_superseded = models.BooleanField(default=False)
    """A later attempt of the same target has another one: it is to be removed."""
    context_sha256 = models.CharField(max_length=64)
    context_bytes = models.PositiveBigIntegerField()

    status = models.CharField(max_length=12, choices=STATUSES, default=Status.QUEUED.value)
    step = models.PositiveIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)
    queued_at = models.DateTimeField(default=timezone.now)
    front = models.IntegerField(default=0)
    """Lower goes first, whenever it was queued; below zero where an operator moved it."""
    started_at = models.DateTimeField(null=True)
    pushing_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    worker = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    """Grows with each change of hands; every write of a worker carries the one it was given."""
    restarts = models.PositiveSmallIntegerField(default=0)
    """How often a worker died under this build before this attempt."""
    interruptions = models.PositiveSmallIntegerField(default=0)
    """How often Slipway was stopped under this build before this attempt."""
    retries = models.PositiveSmallIntegerField(default=0)
    """How often it failed through Slipway's fault before this attempt."""
    retry_until = models.DateTimeField(null=True)
    """Such failures before then are tried again; null before the first."""
    not_before = models.DateTimeField(null=True)
    """When it may be taken; null for at once."""
    avoid_worker = models.CharField(max_length=200, blank=True, default="")
    """At which the attempt before failed."""
    waiting_for = models.TextField(blank=True, default="")
    """What the attempt before lacked, for people, such as `waiting for the registry: …`."""
    free = models.BooleanField(default=False)
    """Not charged to its owner. An attempt that is tried again hands its charge to the next."""

    failure_fault = models.CharField(max_length=10, blank=True)
    """Whose: `user` or `service`."""
    failure_code = models.CharField(max_length=40, blank=True)
    failure_text = models.TextField(blank=True)
    exit_code = models.SmallIntegerField(null=True)
    """Of the command that failed; null where none did."""

    digest = models.CharField(max_length=80, blank=True)
    image_bytes = models.PositiveBigIntegerField(null=True)
    contents = models.JSONField(null=True)
    """What is in the image, as `builds.registry.contents` describes it; null where unknown."""

    log_chunks = models.PositiveIntegerField(default=0)
    log_lines = models.PositiveIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_steps = models.JSONField(default=list)
    """Headings: `[step, line, text, microseconds since 1970]`. A step whose lines were interrupted
    by those of another has several."""
    step_list = models.JSONField(default=list)
    """The steps as the Dockerfile has them: `[number, stage, line in the Dockerfile, text]`."""
    step_times = models.JSONField(default=list)
    """How each stands, in the same order: `[state, begin, end]`, in microseconds since 1970."""
    gap_start = models.PositiveIntegerField(default=0)
    gap_stop = models.PositiveIntegerField(default=0)
    """Lines from the one to before the other were left out, as the log was too long."""
    archive_key = models.CharField(max_length=200, blank=True)
    """Of the whole log in the default storage; blank while only chunks have it."""
    chunks_due_at = models.DateTimeField(null=True)
    """When the chunks of an archived log may go; null once they are gone."""

    discarded_at = models.DateTimeField(null=True)
    """Its image was deleted: nothing of it may stay but this row."""
    purged_at = models.DateTimeField(null=True)

    objects = BuildQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["image_id", "number"], name="builds_build_number_unique_per_image"
            ),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in Status]),
                name="builds_build_status_is_known",
            ),
        ]
        indexes = [
            models.Index(
                fields=["front", "queued_at", "id"],
                name="builds_build_queue",
                condition=Q(status__in=["queued"]),
            ),
            models.Index(
                fields=["owner_id", "resource_class", "queued_at", "id"],
                name="builds_build_line",
                condition=Q(status__in=["queued"]),
            ),
            models.Index(
                fields=["not_before"],
                name="builds_build_retries",
                condition=Q(status__in=["queued"], not_before__isnull=False),
            ),
            models.Index(
                fields=["lease_until"],
                name="builds_build_leases",
                condition=Q(status__in=[*_RUNNING]),
            ),
            models.Index(fields=["owner_id", "queued_at"], name="builds_build_quota"),
            models.Index(
                fields=["discarded_at"],
                name="builds_build_purge",
                condition=Q(discarded_at__isnull=False, purged_at=None),
            ),
            models.Index(
                fields=["ended_at"],
                name="builds_build_unarchived",
                condition=Q(
                    archive_key="",
                    discarded_at=None,
                    log_lines__gt=0,
                    status__in=[*_ENDED],
                ),
            ),
            models.Index(
                fields=["ended_at"],
                name="builds_build_ended",
                condition=Q(ended_at__isnull=False),
            ),
            models.Index(
                fields=["chunks_due_at"],
                name="builds_build_chunks_due",
                condition=Q(chunks_due_at__isnull=False),
            ),
            models.Index(
                fields=["context_key"],
                name="builds_build_contexts",
                condition=~Q(context_key=""),
            ),
            models.Index(
                fields=["status"],
                name="builds_build_superseded",
                condition=Q(context_superseded=True),
            ),
            *LISTED_BY,
        ]

    def __str__(self) -> str:
        return f"{self.label} #{self.number}"

    @property
    def state(self) -> Status:
        return Status(self.status)

    @property
    def api_status(self) -> str:
        return api_word(self.state, self.failure_text)

    @property
    def duration_ms(self) -> int | None:
        """From start to end, in milliseconds. Null before the end, or where it never started."""
        return milliseconds(self.started_at, self.ended_at)

    @property
    def repository(self) -> str:
        """In the registry, without its host: lower case, as registries want it."""
        return self.label.rpartition(":")[0].lower()

    @property
    def tag(self) -> str:
        """The public one, as it was first spelled."""
        return self.label.rpartition(":")[2]

    @property
    def attempt_tag(self) -> str:
        """The tag that this attempt pushes under, and nothing else ever uses."""
        return f"slipway-{self.pk.hex}"

    @property
    def step_facts(self) -> list[dict[str, Any]]:
        return step_facts(self.step_list, self.step_times)

    def sibling(self, number: str) -> "Build | None":
        """The attempt of that number at the same image, as an address spells it."""
        if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004
            return None
        found = Build.objects.light().filter(image_id=self.image_id, owner_id=self.owner_id)
        return found.filter(number=int(number)).first()

    def become_current(self, target: Target) -> None:
        """The target stands at this attempt from now on. Called with its row locked."""
        if target.current_id is not None:
            # The housekeeping finds them by an index, when the last that needs them has ended.
            before = Build.objects.filter(image_id=self.image_id).exclude(context_key="")
            before.exclude(context_key=self.context_key).update(context_superseded=True)
        target.current, target.state = self, state_word(self.state)
        target.save(update_fields=["current", "state"])

    def again(self, *, restarts: int, free: bool, **options: Any) -> "Build":
        """A fresh attempt at the same thing, numbered next, not saved.

        `options` are fields that are to differ: build_args, target, no_cache, pull.
        """
        found = Build(
            image_id=self.image_id,
            owner_id=self.owner_id,
            label=self.label,
            number=Build.objects.next_number(self.image_id),
            dockerfile=self.dockerfile,
            dockerfile_path=self.dockerfile_path,
            build_args=self.build_args,
            target=self.target,
            no_cache=self.no_cache,
            pull=self.pull,
            labels=self.labels,
            resource_class=self.resource_class,
            context_key=self.context_key,
            context_sha256=self.context_sha256,
            context_bytes=self.context_bytes,
            restarts=restarts,
            free=free,
        )
        for name, value in options.items():
            setattr(found, name, value)
        return found
