"""Builds: attempts to build an image. Their rows are the queue, the history and the heads of
logs."""

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

# In the order that the conditions of the indexes use.
_RUNNING = ("building", "pushing", "cancelling")
_ENDED = ("succeeded", "failed", "cancelled", "lost")
STATUSES = [(status.value, status.value) for status in Status]

LONG = (
    *("dockerfile", "build_args", "labels", "contents"),
    *("log_steps", "step_list", "step_times"),
)
"""Fields that may be long and are rarely needed."""

ELSEWHERE_SECONDS = 10
"""For how long after it is due a retry is left to other workers than the one that failed."""


def milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    """From start to end in milliseconds; None if either is missing."""
    if start is None or end is None:
        return None
    return max(0, (end - start) // timedelta(milliseconds=1))


def step_facts(
    step_list: Sequence[Sequence[Any]], step_times: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    """The steps with their states, as in the API."""
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
        """Move builds to a status with one conditional UPDATE. Returns the number of rows moved;
        concurrent callers cannot both move a row.

        If the public status word changes, the target's `state` is updated in the same transaction.
        Lock order: everybody who locks both locks the target before the build.
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
        """This build, if its fencing token still holds."""
        return self.filter(pk=build.pk, fence=build.fence)

    def light(self) -> "BuildQuerySet":
        """Without the long fields."""
        return self.defer(*LONG)

    def with_step_times(self) -> "BuildQuerySet":
        """Like `light`, but with `step_times`."""
        return self.defer(*(each for each in LONG if each != "step_times"))

    def running(self) -> "BuildQuerySet":
        return self.filter(status__one_of=_RUNNING)

    def expired(self) -> "BuildQuerySet":
        """Running builds whose lease has expired."""
        return self.running().filter(lease_until__lt=Now())

    def waiting(self) -> "BuildQuerySet":
        """All queued builds, including retries that are not due yet: those at the front first, then
        by age.

        `builds.queue` decides which of them is next.
        """
        return self.filter(status__one_of=("queued",)).order_by("front", "queued_at", "id")

    def open_to(self, worker: str) -> "BuildQuerySet":
        """Builds that this worker may take now. None while the queue is paused or the worker
        drains.

        A build that failed on this worker is left to other workers at first, if there are any.
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
        """Ended builds of deleted images that are not purged yet."""
        return self.filter(discarded_at__isnull=False, purged_at=None, status__in=FINAL)

    def to_archive(self) -> "BuildQuerySet":
        """Ended builds whose log is not archived yet."""
        ended = self.filter(status__one_of=_ENDED)
        return ended.filter(archive_key="", discarded_at=None, log_lines__gt=0)

    def charged_since(self, owner_id: UUID | OuterRef, since: datetime) -> "BuildQuerySet":
        """Builds charged to the owner's quota since then. Free builds, such as automatic
        retries, are not."""
        return self.filter(owner_id=owner_id, queued_at__gt=since, free=False)

    def next_number(self, image_id: UUID) -> int:
        """The number of the next attempt of an image."""
        found: int | None = self.filter(image_id=image_id).aggregate(last=Max("number"))["last"]
        return (found or 0) + 1


class Build(models.Model):
    """One attempt to build an image. It remains as history when the image is deleted."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    image_id = models.UUIDField()
    owner_id = models.UUIDField()
    label = models.CharField(max_length=400)
    """`owner/name:tag`, for display."""
    number = models.PositiveIntegerField()

    dockerfile = models.TextField()
    """Empty until it is read, if the Dockerfile is in the context."""
    dockerfile_path = models.CharField(max_length=1024, blank=True, default="")
    """Path in the context; empty if the Dockerfile was sent separately."""
    build_args = models.JSONField(default=dict)
    target = models.CharField(max_length=128, blank=True, default="")
    """The stage to build; empty for the last one."""
    no_cache = models.BooleanField(default=False)
    pull = models.BooleanField(default=False)
    labels = models.JSONField(default=dict)
    resource_class = models.CharField(
        max_length=40, default=DEFAULT_CLASS, db_default=DEFAULT_CLASS
    )
    context_key = models.CharField(max_length=200, blank=True)
    """Key in the default storage; empty after the context was removed."""
    context_superseded = models.BooleanField(default=False)
    """A later attempt of the same target uses another context: this one is to be removed."""
    context_sha256 = models.CharField(max_length=64)
    context_bytes = models.PositiveBigIntegerField()

    status = models.CharField(max_length=12, choices=STATUSES, default=Status.QUEUED.value)
    step = models.PositiveIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)
    queued_at = models.DateTimeField(default=timezone.now)
    front = models.IntegerField(default=0)
    """Lower goes first, before the queueing time; negative after an operator moved it to the
    front."""
    started_at = models.DateTimeField(null=True)
    pushing_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    worker = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    """Fencing token: incremented when the build changes hands. Workers pass theirs with every
    write."""
    restarts = models.PositiveSmallIntegerField(default=0)
    """How many workers died while running earlier attempts of this build."""
    interruptions = models.PositiveSmallIntegerField(default=0)
    """How often earlier attempts were interrupted by a stop of Slipway."""
    retries = models.PositiveSmallIntegerField(default=0)
    """How often earlier attempts failed through Slipway's fault."""
    retry_until = models.DateTimeField(null=True)
    """Failures of the service before this time are retried; null before the first failure."""
    not_before = models.DateTimeField(null=True)
    """Earliest start of the attempt; null for at once."""
    avoid_worker = models.CharField(max_length=200, blank=True, default="")
    """Worker on which the previous attempt failed."""
    waiting_for = models.TextField(blank=True, default="")
    """What the previous attempt lacked, for display, such as `waiting for the registry: …`."""
    free = models.BooleanField(default=False)
    """Not charged to the owner. When an attempt is retried, its charge moves to the next one."""

    failure_fault = models.CharField(max_length=10, blank=True)
    """Who has to act: `user` or `service`."""
    failure_code = models.CharField(max_length=40, blank=True)
    failure_text = models.TextField(blank=True)
    exit_code = models.SmallIntegerField(null=True)
    """Exit code of the command that failed; null if none did."""

    digest = models.CharField(max_length=80, blank=True)
    image_bytes = models.PositiveBigIntegerField(null=True)
    contents = models.JSONField(null=True)
    """Contents of the image, see `builds.registry.contents`; null if unknown."""

    log_chunks = models.PositiveIntegerField(default=0)
    log_lines = models.PositiveIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_steps = models.JSONField(default=list)
    """Headings: `[step, line, text, microseconds since 1970]`. A step that was interrupted by
    another has several."""
    step_list = models.JSONField(default=list)
    """The steps in the order of the Dockerfile: `[number, stage, line in the Dockerfile, text]`."""
    step_times = models.JSONField(default=list)
    """State of each step in the same order: `[state, begin, end]`, in microseconds since 1970."""
    gap_start = models.PositiveIntegerField(default=0)
    gap_stop = models.PositiveIntegerField(default=0)
    """Truncated lines: `gap_start` to `gap_stop` (exclusive). Both are 0 if there are none."""
    archive_key = models.CharField(max_length=200, blank=True)
    """Key of the archived log in the default storage; empty while the log is in chunks only."""
    chunks_due_at = models.DateTimeField(null=True)
    """When the chunks of an archived log may be deleted; null after that."""

    discarded_at = models.DateTimeField(null=True)
    """When its image was deleted: everything but this row must be removed."""
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
        """Status in the format of the Images API."""
        return api_word(self.state, self.failure_text)

    @property
    def duration_ms(self) -> int | None:
        """From start to end, in milliseconds. None before the end, or if it never started."""
        return milliseconds(self.started_at, self.ended_at)

    @property
    def repository(self) -> str:
        """Name in the registry, without the host; lower case, as registries require."""
        return self.label.rpartition(":")[0].lower()

    @property
    def tag(self) -> str:
        """The public tag, in its original spelling."""
        return self.label.rpartition(":")[2]

    @property
    def attempt_tag(self) -> str:
        """The tag that only this attempt pushes to."""
        return f"slipway-{self.pk.hex}"

    @property
    def step_facts(self) -> list[dict[str, Any]]:
        return step_facts(self.step_list, self.step_times)

    def sibling(self, number: str) -> "Build | None":
        """The attempt with this number (as in a URL) of the same image; None if there is none."""
        if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004
            return None
        found = Build.objects.light().filter(image_id=self.image_id, owner_id=self.owner_id)
        return found.filter(number=int(number)).first()

    def become_current(self, target: Target) -> None:
        """Make this attempt the target's current one. Call it with the target's row locked."""
        if target.current_id is not None:
            # The housekeeping removes these contexts when no unfinished attempt needs them.
            before = Build.objects.filter(image_id=self.image_id).exclude(context_key="")
            before.exclude(context_key=self.context_key).update(context_superseded=True)
        target.current, target.state = self, state_word(self.state)
        target.save(update_fields=["current", "state"])

    def again(self, *, restarts: int, free: bool, **options: Any) -> "Build":
        """A new attempt with the same inputs and the next number, not saved.

        `options` are fields to override: build_args, target, no_cache, pull and so on.
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
