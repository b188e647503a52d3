"""The only functions that change images: order, rebuild, cancel, change, delete."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import file_digest
from io import BytesIO
from typing import Any, cast
from uuid import UUID, uuid4

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Count, Subquery
from django.utils import timezone

from accounts.models import User
from builds.build_spec import DEFAULT_CLASS
from builds.lifecycle import (
    BuildRequest,
    UnderWay,
    request_again,
    request_build,
    request_cancel,
    request_first_build,
    request_removal,
)
from builds.models import Build
from builds.resource_classes import choose, default_of
from builds.status import FINAL, Status
from common import error_codes
from common.error_codes import CodedError
from database.prepared_queries import Prepared
from images import naming
from images.models import Image, may_change_all
from images.quota import QUOTA_WINDOW, check_charged, check_quota, check_storage
from images.signals import image_event

EMPTY_CONTEXT = b"PK\x05\x06" + bytes(18)
"""A zip archive without members."""


class NameTaken(CodedError):
    """The owner already has an image with this name and tag, which may not be built again: it
    succeeded and the request has no `replace`, or its build has not ended."""

    kind = error_codes.NAME_TAKEN


class NothingUnderWay(CodedError):
    kind = error_codes.NOTHING_UNDER_WAY


class OperatorsOnly(CodedError):
    kind = error_codes.OPERATORS_ONLY


class Protected(CodedError):
    """A protected image cannot be deleted until somebody removes the protection."""

    kind = error_codes.IMAGE_PROTECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The request of an owner, after the checks of `images.naming` and `builds.build_options`."""

    name: str
    tag: str
    dockerfile: str = ""
    dockerfile_path: str = ""
    """Path of a Dockerfile in the context, used if the request has no Dockerfile."""
    described: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the image that the request has: readme, public, logo, chutes_version."""
    replace: bool = False
    """Whether an image that succeeded is built again."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    resource_class: str = ""
    """Empty means the default of the owner."""


def order(*, owner: User, wanted: Wanted, context: "File[bytes] | None" = None) -> Image:
    """Stores the context and requests a build: of a new image, or again of one that failed.

    With `wanted.replace`, an image that succeeded is built again too; its tag stays on the last
    good build until the new one succeeds. Without a context, an empty one is stored. Raises
    NameTaken, QuotaExceeded or ClassRefused; then nothing is kept.
    """
    named = choose(owner.pk, wanted.resource_class) if wanted.resource_class else ""
    identity = naming.image_id(owner.username, wanted.name, wanted.tag)
    since = timezone.now() - QUOTA_WINDOW
    [(charged, status, number, default)] = _BEFORE.rows(owner.pk, identity, since)
    check_storage(owner)
    check_charged(owner, charged or 0, since)
    if status is not None:
        _check_free(status, wanted)
    if context is None:
        context = ContentFile(EMPTY_CONTEXT)
    digest = file_digest(cast("BytesIO", context.file), "sha256").hexdigest()
    context.seek(0)
    # The name has no suffix: the content shows the format.
    key = default_storage.save(f"contexts/{uuid4().hex}", context)
    request = BuildRequest(
        image_id=identity,
        owner_id=owner.pk,
        label=f"{owner.username}/{wanted.name}:{wanted.tag}",
        dockerfile=wanted.dockerfile,
        dockerfile_path=wanted.dockerfile_path,
        build_args=dict(wanted.build_args),
        target=wanted.target,
        no_cache=wanted.no_cache,
        pull=wanted.pull,
        labels=dict(wanted.labels),
        resource_class=named or default or DEFAULT_CLASS,
        context_key=key,
        context_sha256=digest,
        context_bytes=context.size,
    )
    try:
        if status is None:
            return _ordered_first(owner, wanted, request, (number or 0) + 1)
        return _ordered_again(wanted, request)
    except (IntegrityError, Image.DoesNotExist) as problem:
        default_storage.delete(key)
        raise NameTaken(name=wanted.name, tag=wanted.tag) from problem
    except BaseException:
        default_storage.delete(key)
        raise


def rebuild(image: Image, *, by: User | None = None, **options: Any) -> Image:
    """Starts a new attempt from the stored Dockerfile and context.

    Raises QuotaExceeded, what `request_again` raises, and Image.DoesNotExist if the image was
    deleted meanwhile. A rebuild that an operator requests for somebody else's image does not count
    against its owner's limit. `options` replace those of the last attempt: build_args, target,
    no_cache, pull.
    """
    free = by is not None and by.pk != image.owner_id
    if not free:
        check_quota(image.owner)
    with transaction.atomic():
        held = Image.objects.select_for_update().get(pk=image.pk)
        request_again(held.pk, free=free, **options)
    return Image.objects.with_build().get(pk=image.pk)


def cancel(image: Image) -> Image:
    """Ends the running build soon. Raises NothingUnderWay or Image.DoesNotExist."""
    asked = None
    # Try again: a lost attempt may have got a successor since the image was read.
    while asked != image.build:
        asked = image.build
        cancelled = request_cancel(asked)
        image = Image.objects.with_build().get(pk=image.pk)
        if cancelled:
            return image
    raise NothingUnderWay


def change(image: Image, *, by: User, **described: Any) -> Image:
    """Changes readme, public or protected. Raises OperatorsOnly or Image.DoesNotExist."""
    if "protected" in described and not may_change_all(by):
        raise OperatorsOnly
    with transaction.atomic():
        changes = any(getattr(image, name) != value for name, value in described.items())
        if changes:
            Image.objects.filter(pk=image.pk).update(**described)
        image = Image.objects.with_build().get(pk=image.pk)
        if changes:
            _tell("image_updated", image)
    return image


def delete(image: Image) -> None:
    """Cancels the build and deletes the image. Tag, context and log are removed in the background.

    Raises Protected, or Image.DoesNotExist if somebody else deleted it first.
    """
    with transaction.atomic():
        held = Image.objects.select_for_update().get(pk=image.pk)
        if held.protected:
            raise Protected
        _tell("image_deleted", Image.objects.with_build().get(pk=image.pk))
        request_removal(image.pk)


def _before(owner: UUID, identity: UUID, since: datetime) -> Any:
    charged = Build.objects.charged_since(owner, since).order_by().values("owner_id")
    attempts = Build.objects.filter(image_id=identity).order_by("-number")
    return User.objects.filter(pk=owner).values_list(
        Subquery(charged.annotate(number=Count("*")).values("number")),
        Subquery(Image.objects.filter(pk=identity).values("current__status")),
        Subquery(attempts.values("number")[:1]),
        Subquery(default_of(owner).values("pk")[:1]),
    )


_BEFORE = Prepared(_before, UUID, UUID, datetime)
"""What a request depends on, read by one query: the owner's charged builds, the status of an
image of this name, the number of the last attempt, which is kept when an image is deleted, and
the owner's default resource class."""


def _check_free(status: str, wanted: Wanted) -> None:
    """Raises NameTaken or UnderWay if an image with this status may not be built again."""
    if wanted.replace and status not in FINAL:
        raise UnderWay
    if not wanted.replace and status not in FINAL - {Status.SUCCEEDED}:
        raise NameTaken(name=wanted.name, tag=wanted.tag)


@transaction.atomic
def _ordered_first(owner: User, wanted: Wanted, request: BuildRequest, number: int) -> Image:
    """Raises IntegrityError if another request made the image first."""
    image = Image(
        id=request.image_id,
        reference_id=naming.reference_id(owner.username, wanted.name, wanted.tag),
        owner=owner,
        name=wanted.name,
        tag=wanted.tag,
        **wanted.described,
    )
    request_first_build(image, request, number=number)
    _tell("image_created", image)
    return image


@transaction.atomic
def _ordered_again(wanted: Wanted, request: BuildRequest) -> Image:
    """Updates an image with the fields of the request; its name and tag keep their spelling.

    Raises NameTaken, UnderWay or Image.DoesNotExist.
    """
    held = Image.objects.select_for_update(of=("self",)).select_related("owner", "current")
    image = held.get(pk=request.image_id)
    _check_free(image.build.status, wanted)
    if wanted.described:
        Image.objects.filter(pk=image.pk).update(**wanted.described)
    request_build(replace(request, label=str(image)))
    image = Image.objects.with_build().get(pk=image.pk)
    if wanted.described:
        _tell("image_updated", image)
    return image


def _tell(event: str, image: Image) -> None:
    image_event.send(sender=Image, event=event, image=image)
