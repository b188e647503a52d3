"""Images as clients see them, from plain rows.

`body` writes the same as ImageSerializer, without model objects and serializer fields; a test
compares both. The queries are compiled once.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import BigIntegerField, Q, Subquery

from accounts.models import User
from builds.conf import build_settings
from builds.models import milliseconds, step_facts
from builds.status import Status, api_word
from database.prepared_queries import Prepared, Row
from database.substring_lookups import LowerIs
from images import naming
from images.models import Image, ImageQuerySet, ImageTally, ImageTallyQuerySet
from images.naming import Reference, readings
from images.rest.queued import queue_facts

COLUMNS = (
    "id",
    "name",
    "readme",
    "tag",
    "public",
    "created_at",
    "logo_id",
    "patch_version",
    "protected",
    "owner_id",
    "owner__username",
    "owner__created_at",
    "current__number",
    "current__status",
    "current__step",
    "current__steps",
    "current__started_at",
    "current__ended_at",
    "current__digest",
    "current__failure_text",
    "current__waiting_for",
    "current__exit_code",
    "good__digest",
    "good__number",
    "good__ended_at",
    "good_bytes",
    "good_ms",
    "ended_at",
)
DETAIL = ("current_id", "current__step_list", "current__step_times")
"""Columns for single images only: they would make lists slow."""


def body(row: Row) -> dict[str, Any]:
    """The body of an answer, from the values of COLUMNS. More columns may follow."""
    (
        identity,
        name,
        readme,
        tag,
        public,
        created_at,
        logo_id,
        patch_version,
        protected,
        owner_id,
        username,
        joined_at,
        number,
        status,
        step,
        steps,
        started_at,
        ended_at,
        digest,
        failure_text,
        waiting_for,
        exit_code,
        good_digest,
        good_number,
        good_ended_at,
        good_bytes,
        good_ms,
        _,
    ) = row[: len(COLUMNS)]
    registry = build_settings().registry
    repository = f"{registry}/{naming.repository(username, name)}"
    return {
        "image_id": identity,
        "name": name,
        "readme": readme,
        "tag": tag,
        "public": public,
        "status": api_word(Status(status), failure_text),
        "created_at": created_at,
        "build_started_at": started_at,
        "build_completed_at": ended_at if digest else None,
        "user": {
            "username": username,
            "user_id": owner_id,
            "logo_id": None,
            "created_at": joined_at,
            "logo": None,
        },
        "logo_id": logo_id,
        "patch_version": patch_version,
        "logo": f"{settings.PUBLIC_URL}/logos/{logo_id}.webp" if logo_id else None,
        "protected": protected,
        "build": {
            "number": number,
            "status": status,
            "step": step,
            "steps": steps,
            "waiting_for": waiting_for,
            "exit_code": exit_code,
            "ended_at": ended_at,
            "duration_ms": milliseconds(started_at, ended_at),
        },
        "digest": good_digest,
        "registry": registry,
        "reference": f"{repository}:{tag}",
        "reference_by_digest": f"{repository}@{good_digest}" if good_digest else None,
        "good_build": {
            "number": good_number,
            "digest": good_digest,
            "ended_at": good_ended_at,
            "image_bytes": good_bytes,
            "duration_ms": good_ms,
        }
        if good_digest
        else None,
    }


def detail(row: Row) -> dict[str, Any]:
    """The body of an answer about a single image, from the values of COLUMNS and DETAIL."""
    told = body(row)
    build_id, step_list, step_times = row[len(COLUMNS) : len(COLUMNS) + len(DETAIL)]
    build = told["build"]
    build |= {
        "step_list": step_facts(step_list, step_times),
        **queue_facts(build_id, build["status"]),
    }
    return told


def accepted(image: Image) -> dict[str, Any]:
    """The answer to a request for a build, as AcceptedSerializer writes it.

    It has no forecast of the queue, which would cost more than the rest of the request.
    """
    build, owner, good = image.build, image.owner, image.good
    told = body(
        (
            *(image.pk, image.name, image.readme, image.tag, image.public, image.created_at),
            *(image.logo_id, image.patch_version, image.protected),
            *(owner.pk, owner.username, owner.created_at),
            *(build.number, build.status, build.step, build.steps),
            *(build.started_at, build.ended_at, build.digest, build.failure_text),
            *(build.waiting_for, build.exit_code),
            *((good.digest, good.number, good.ended_at) if good else (None, None, None)),
            *(image.good_bytes, image.good_ms, image.ended_at),
        )
    )
    return {**told, "user_id": owner.pk}


def standing(row: Row) -> tuple[int, str]:
    """The number and the status of the current attempt, from the values of COLUMNS."""
    return row[COLUMNS.index("current__number")], row[COLUMNS.index("current__status")]


class SumOf(Subquery):
    """The sum of the counts that a query finds."""

    template = (
        "(SELECT CAST(COALESCE(SUM(counted.count), 0) AS bigint) FROM (%(subquery)s) counted)"
    )
    output_field = BigIntegerField()

    def __init__(self, tallies: ImageTallyQuerySet) -> None:
        super().__init__(tallies.values("count"))


def _own(owner: UUID) -> ImageQuerySet:
    return Image.objects.filter(owner_id=owner).newest_first()


def _own_total(owner: UUID) -> SumOf:
    return SumOf(ImageTally.objects.owned_by(owner))


def _visible_total(owner: UUID) -> SumOf:
    return SumOf(ImageTally.objects.visible_to(owner))


def _of_user(total: Callable[[UUID], SumOf]) -> Callable[[UUID], Any]:
    return lambda owner: User.objects.filter(pk=owner).values_list(total(owner))


SIZE = 25
OWN_TOTAL = Prepared(_of_user(_own_total), UUID)
VISIBLE_TOTAL = Prepared(_of_user(_visible_total), UUID)
# The limit is part of the statement, because its plan is made once.
OWN_FIRST = Prepared(
    lambda owner: _own(owner).values_list(*COLUMNS, _own_total(owner))[:SIZE], UUID
)
OWN_KEYS = Prepared(lambda owner: _own(owner).values_list("pk"), UUID, limited=True)
PUBLIC_KEYS = Prepared(
    lambda: Image.objects.filter(public=True).newest_first().values_list("pk", "created_at"),
    limited=True,
)
PRIVATE_KEYS = Prepared(
    lambda owner: _own(owner).filter(public=False).values_list("pk", "created_at"),
    UUID,
    limited=True,
)
BY_KEYS = Prepared(lambda keys: Image.objects.filter(pk__in=keys).values_list(*COLUMNS), list)
SINGLE = (*COLUMNS, *DETAIL)
BY_ID = Prepared(
    lambda identity, viewer: Image.objects.filter(
        Q(public=True) | Q(owner_id=viewer), pk=identity
    ).values_list(*SINGLE),
    UUID,
    UUID,
)


OWN_TAGGED = Prepared(
    lambda viewer, name, tag: Image.objects.filter(
        LowerIs("name", name), LowerIs("tag", tag), owner_id=viewer
    ).values_list(*SINGLE),
    UUID,
    str,
    str,
)


def _either(viewer: UUID, own: str, tag: str, owner: str, name: str) -> Any:
    mine = Q(LowerIs("name", own), owner_id=viewer)
    of_owner = Q(
        Q(public=True) | Q(owner_id=viewer),
        LowerIs("name", name),
        owner_id=Subquery(User.objects.filter(LowerIs("username", owner)).values("pk")),
    )
    tagged = LowerIs("tag", tag)
    return Image.objects.filter(Q(mine, tagged) | Q(of_owner, tagged)).values_list(*SINGLE)


EITHER_TAGGED = Prepared(_either, UUID, str, str, str, str)
"""The caller's own image whose name has a slash, and an image of another owner: each by its
index."""


class Named(NamedTuple):
    """The fields of an image that access checks need."""

    pk: UUID


class Page(NamedTuple):
    """Some rows of COLUMNS, and the number of rows on all pages."""

    rows: list[Row]
    total: int


def own_page(owner: User, start: int, size: int) -> Page:
    """Images of one owner, newest first."""
    if start == 0 and size == SIZE:
        found = OWN_FIRST.rows(owner.pk)
        if found:
            return Page(found, found[0][-1])
    total = OWN_TOTAL.rows(owner.pk)[0][0]
    if start >= total:
        return Page([], total)
    keys = [key for (key,) in OWN_KEYS.rows(owner.pk, size, start)]
    return Page(of_keys(keys), total)


def visible_page(viewer: User, start: int, size: int) -> Page:
    """Images of one user and all public ones, newest first."""
    total = VISIBLE_TOTAL.rows(viewer.pk)[0][0]
    if start >= total:
        return Page([], total)
    if start == 0:
        newest = PUBLIC_KEYS.rows(size, 0) + PRIVATE_KEYS.rows(viewer.pk, size, 0)
        newest.sort(key=itemgetter(1, 0), reverse=True)
        return Page(of_keys([key for key, _ in newest[:size]]), total)
    keys = Image.objects.visible_to(viewer).newest_first().values_list("pk", flat=True)
    return Page(of_keys(list(keys[start : start + size])), total)


def of_keys(keys: list[UUID]) -> list[Row]:
    """The rows of these images, in this order. Images that were deleted meanwhile are left out."""
    found = {row[0]: row for row in BY_KEYS.rows(keys)} if keys else {}
    return [found[key] for key in keys if key in found]


def by_id(image_id: UUID) -> Row | None:
    """The values of COLUMNS and DETAIL, without a check of rights."""
    found = list(Image.objects.filter(pk=image_id).values_list(*SINGLE))
    return found[0] if found else None


def find(text: str, viewer: User, *, tagless: bool = False) -> Row | None:
    """The image that a text means to a viewer, as `visible_to(viewer).meant_by` finds it.

    With the values of COLUMNS and DETAIL.
    """
    identity, references = readings(text)
    if identity is not None:
        found = BY_ID.rows(identity, viewer.pk)
    elif all(reference.tag for reference in references):
        found = _tagged(references, viewer)
    else:
        found = []
    if found:
        return found[0]
    if identity is None and not any(reference.tag is None for reference in references):
        return None
    image = Image.objects.visible_to(viewer).meant_by(text, viewer, tagless=tagless)
    return BY_ID.rows(image.pk, viewer.pk)[0] if image is not None else None


def _tagged(references: list[Reference], viewer: User) -> list[Row]:
    """By the first of these readings that finds an image. All readings have a tag."""
    if len(references) == 1:
        [own] = references
        return OWN_TAGGED.rows(viewer.pk, own.name, own.tag) if own.owner is None else []
    if not references:
        return []
    own, other = references
    found = EITHER_TAGGED.rows(viewer.pk, own.name, own.tag, other.owner, other.name)
    found.sort(key=lambda row: row[1].lower() != own.name.lower())
    return found
