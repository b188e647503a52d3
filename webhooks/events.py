"""Stores the deliveries for webhooks in the transaction of the change."""

from typing import Any
from uuid import UUID

import orjson
from django.dispatch import receiver
from django.utils import timezone

from builds.models import Build
from builds.signals import build_ended
from builds.status import Status
from database.prepared_queries import Prepared
from images.models import Image
from images.rest.serializers import BuildSerializer, ImageSerializer
from images.signals import image_event
from webhooks.models import TEST, Delivery, Webhook

LEFT_OUT = ("readme", "logo", "logo_id")
"""Fields of images that are long, or of no use to a program."""
LEFT_OUT_OF_BUILDS = ("step_list", "labels")
ENDS = {
    Status.SUCCEEDED: "build_succeeded",
    Status.FAILED: "build_failed",
    Status.CANCELLED: "build_cancelled",
}

_ANY = Prepared(lambda owner: Webhook.objects.told_of(owner).values_list("pk")[:1], UUID)


@receiver(image_event)
def note_image(*, event: str, image: Image, **_: Any) -> None:
    """For an image that was created or updated, or is about to be deleted."""
    if not _ANY.rows(image.owner_id):  # most owners have no webhooks, and this query is cheap
        return
    hooks = Webhook.objects.hearing(event, image.owner_id)
    if hooks:
        _write(hooks, event, image, None)


@receiver(build_ended)
def note_end(*, build_id: Any, status: Status, **_: Any) -> None:
    """For a build that ended finally: not for one that starts again, nor of a deleted image."""
    event = ENDS.get(status)
    image = Image.objects.with_build().filter(current=build_id).first() if event else None
    if event is None or image is None:
        return
    hooks = Webhook.objects.hearing(event, image.owner_id)
    if hooks:
        _write(hooks, event, image, image.build)


def note_test(webhook: Webhook) -> Delivery:
    """A test delivery, which the webhook's owner requested."""
    body = _body(TEST, {"webhook_id": webhook.pk})
    return Delivery.objects.create(webhook=webhook, event=TEST, body=body)


def _write(hooks: list[Webhook], event: str, image: Image, build: Build | None) -> None:
    told: dict[str, Any] = {"image": _without(ImageSerializer(image).data, LEFT_OUT)}
    if build is not None:
        told["build"] = _without(BuildSerializer(build).data, LEFT_OUT_OF_BUILDS)
    body = _body(event, told)
    Delivery.objects.bulk_create(
        Delivery(webhook=hook, event=event, image_id=image.pk, body=body) for hook in hooks
    )


def _body(event: str, told: dict[str, Any]) -> str:
    content = {"event": event, "created_at": timezone.now(), **told}
    return orjson.dumps(content, option=orjson.OPT_UTC_Z, default=str).decode()


def _without(told: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in names}
