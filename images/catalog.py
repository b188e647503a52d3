"""The only way to change an image: order, rebuild, cancel, change, delete. Everybody calls it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction

from accounts.models import User
from builds.lifecycle import (
    BuildRequest,
    UnderWay,
    request_again,
    request_build,
    request_cancel,
    request_removal,
)
from builds.status import FINAL, Status, state_word
from common import error_codes
from common.error_codes import CodedError
from database.prepared_queries import Prepared
from images import naming
from images.models import Image, may_change_all
from images.quota import check_quota
from images.signals import image_event

EMPTY_CONTEXT = b"PK\x05\x06" + bytes(18)
"""A zip without members."""


class NameTaken(CodedError):
    """The owner has an image of that name and tag, and it is not to be built again: it succeeded
    and is not to be replaced, or its build has not ended."""

    kind = error_codes.NAME_TAKEN


class NothingUnderWay(CodedError):
    kind = error_codes.NOTHING_UNDER_WAY


class OperatorsOnly(CodedError):
    kind = error_codes.OPERATORS_ONLY


class Protected(CodedError):
    """A protected image is not deleted before somebody takes the protection off."""

    kind = error_codes.IMAGE_PROTECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an owner sent, checked by `images.naming` and `builds.build_options`."""

    name: str
    tag: str
    dockerfile: str = ""
    dockerfile_path: str = ""
    """Of a Dockerfile in the context, where none was sent."""
    described: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the image that were sent: readme, public, logo, chutes_version."""
    replace: bool = False
    """Whether an image that succeeded is built again."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def order(*, owner: User, wanted: Wanted, context: "File[bytes] | None" = None) -> Image:
    """Takes the context in and asks for a build: of a new image, or again of one that failed.

    `wanted.replace` builds one that succeeded again too: until that succeeds, its tag stays where
    it is. Without a context, an empty one is stored. Raises NameTaken or QuotaExceeded, and then
    nothing is kept.
    """
    check_quota(owner)
    identity = naming.image_id(owner.username, wanted.name, wanted.tag)
    _check_free(identity, wanted)
    context = context or ContentFile(EMPTY_CONTEXT)
    key = f"contexts/{uuid4().hex}"  # its content tells its format
    digest, size = _digest(context)
    key = default_storage.save(key, context)
    try:
        with transaction.atomic():
            image, made = _described(identity, owner, wanted)
            build = request_build(
                BuildRequest(
                    image_id=image.pk,
                    owner_id=owner.pk,
                    label=str(image),
                    dockerfile=wanted.dockerfile,
                    dockerfile_path=wanted.dockerfile_path,
                    build_args=dict(wanted.build_args),
                    target=wanted.target,
                    no_cache=wanted.no_cache,
                    pull=wanted.pull,
                    labels=dict(wanted.labels),
                    context_key=key,
                    context_sha256=digest,
                    context_bytes=size,
                )
            )
            if made:
                image.current, image.state = build, state_word(build.state)
            else:
                image = Image.objects.with_build().get(pk=image.pk)
            if made or wanted.described:
                _tell("image_created" if made else "image_updated", image)
            return image
    except IntegrityError as problem:
        default_storage.delete(key)
        raise NameTaken(name=wanted.name, tag=wanted.tag) from problem
    except BaseException:
        default_storage.delete(key)
        raise


def rebuild(image: Image, *, by: User | None = None) -> Image:
    """A new attempt with what is stored. Raises QuotaExceeded, and what `request_again` does.

    Image.DoesNotExist where it was deleted meanwhile. What an operator asks for by another's image
    is not charged to its owner.
    """
    free = by is not None and by.pk != image.owner_id
    if not free:
        check_quota(image.owner)
    with transaction.atomic():
        held = Image.objects.select_for_update().get(pk=image.pk)
        request_again(held.pk, free=free)
    return Image.objects.with_build().get(pk=image.pk)


def cancel(image: Image) -> Image:
    """Ends the build under way, soon. Raises NothingUnderWay, or Image.DoesNotExist."""
    asked = None
    # Once more where a lost attempt had a successor since we looked.
    while asked != image.build:
        asked = image.build
        cancelled = request_cancel(asked)
        image = Image.objects.with_build().get(pk=image.pk)
        if cancelled:
            return image
    raise NothingUnderWay


def change(image: Image, *, by: User, **described: Any) -> Image:
    """Describes it again: readme, public, protected. Raises OperatorsOnly or Image.DoesNotExist."""
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
    """Cancels its build and removes it; registry, context and log follow in the background.

    Raises Protected, or Image.DoesNotExist where somebody else was first.
    """
    with transaction.atomic():
        held = Image.objects.select_for_update().get(pk=image.pk)
        if held.protected:
            raise Protected
        _tell("image_deleted", Image.objects.with_build().get(pk=image.pk))
        request_removal(image.pk)


_STATUS = Prepared(
    lambda identity: Image.objects.filter(pk=identity).values_list("current__status"), UUID
)


def _check_free(identity: UUID, wanted: Wanted) -> None:
    """Raises NameTaken or UnderWay where there is an image that may not be built again."""
    for (status,) in _STATUS.rows(identity):
        if wanted.replace and status not in FINAL:
            raise UnderWay
        if not wanted.replace and status not in FINAL - {Status.SUCCEEDED}:
            raise NameTaken(name=wanted.name, tag=wanted.tag)


def _described(identity: UUID, owner: User, wanted: Wanted) -> tuple[Image, bool]:
    """The image to build, and whether it is new; else what was sent describes it again.

    That one keeps the spelling of its name and tag. Raises NameTaken.
    """
    held = Image.objects.select_for_update(of=("self",)).select_related("owner")
    image = held.filter(pk=identity).order_by().first()
    if image is not None:
        _check_free(identity, wanted)
        if wanted.described:
            Image.objects.filter(pk=identity).update(**wanted.described)
        return image, False
    made = Image.objects.create(
        id=identity,
        reference_id=naming.reference_id(owner.username, wanted.name, wanted.tag),
        owner=owner,
        name=wanted.name,
        tag=wanted.tag,
        **wanted.described,
    )
    return made, True


def _tell(event: str, image: Image) -> None:
    image_event.send(sender=Image, event=event, image=image)


def _digest(context: "File[bytes]") -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    for chunk in context.chunks():
        digest.update(chunk)
        size += len(chunk)
    context.seek(0)
    return digest.hexdigest(), size
