"""Targets of builds. A target's row is the lock under which its public tag moves."""

from django.apps import apps
from django.db import models
from django.utils import timezone

from builds.status import WORDS


class Target(models.Model):
    """The part of an image that builds know: the current and the last successful attempt.

    `images.Image` inherits it, so that this package has the columns without importing `images`. A
    row's id is the `image_id` of its builds.
    """

    id = models.UUIDField(primary_key=True)
    current = models.OneToOneField(
        "builds.Build", null=True, on_delete=models.PROTECT, related_name="+"
    )
    good = models.OneToOneField(
        "builds.Build", null=True, on_delete=models.PROTECT, related_name="+"
    )
    """The attempt whose digest the public tag names."""
    state = models.CharField(
        max_length=9, choices=[(word, word) for word in WORDS], default="queued", editable=False
    )
    """Public status word of the current attempt, used to filter lists."""
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(default=timezone.now, editable=False)
    """When the last attempt ended, or the creation time before that. Used to sort lists, as are
    the next two columns."""
    good_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    """Size of the good attempt's image in bytes; 0 before there is one."""
    good_ms = models.PositiveBigIntegerField(default=0, editable=False)
    """How long the good attempt took, in milliseconds."""
    expires_at = models.DateTimeField(null=True, editable=False)
    """When the image is deleted, if a label of its good attempt says so."""

    class Meta:
        abstract = True


def targets() -> "models.QuerySet[Target]":
    """The images, with the columns of `Target`."""
    return models.QuerySet(apps.get_model("images", "Image"))
