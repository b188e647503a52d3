"""Indexes for ordering and filtering lists of millions of builds.

On PostgreSQL a migration adds a trigram index on `label`, which is searched by substring.
"""

from django.db.models import F, Index, Q

from builds.status import Status

NEWEST = (F("queued_at").desc(), F("id").desc())
BEGINNING = ["varchar_pattern_ops"]
"""Operator class for prefix searches. Databases other than PostgreSQL ignore it."""
UNUSUAL = [each.value for each in Status if each is not Status.SUCCEEDED]

LISTED_BY = [
    Index(*NEWEST, name="builds_build_newest"),
    Index(
        F("status"),
        *NEWEST,
        name="builds_build_not_succeeded",
        condition=Q(status__in=UNUSUAL),
    ),
    Index(
        F("owner_id"),
        F("status"),
        *NEWEST,
        name="builds_build_own_standing",
        condition=Q(status__in=UNUSUAL),
    ),
    Index(
        F("failure_code"),
        *NEWEST,
        name="builds_build_failure_code",
        condition=~Q(failure_code=""),
    ),
    Index(
        F("failure_fault"),
        *NEWEST,
        name="builds_build_failure_fault",
        condition=~Q(failure_fault=""),
    ),
    Index(fields=["digest"], name="builds_build_digest", opclasses=BEGINNING),
    Index(fields=["worker"], name="builds_build_worker", opclasses=BEGINNING),
    Index(fields=["image_bytes"], name="builds_build_size"),
]
