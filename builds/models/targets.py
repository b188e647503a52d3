"""Targets: what is built. The row of one is the lock under which its public tag moves."""

from django.apps import apps
from django.db import models
from django.utils import timezone

from builds.status import WORDS


class Target(models.Model):
    """The part of an image that builds know: which attempt is current, which one succeeded last.

    `images.Image` extends it, so this package has its columns without importing `images`. The id of
    a row is the `image_id` of its builds.
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
    """Where the current attempt stands, in people's words: lists are narrowed by it."""
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(default=timezone.now, editable=False)
    """When an attempt last ended; before the first has, when it was made. Lists are sorted by it,
    as by the next two."""
    good_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    """Size of the good attempt's image; 0 before there is one."""
    good_ms = models.PositiveBigIntegerField(default=0, editable=False)
    """How long the good attempt took, in milliseconds."""
    expires_at = models.DateTimeField(null=True, editable=False)
    """When it is deleted, where its good attempt's labels say so."""

    class Meta:
        abstract = True


def targets() -> "models.QuerySet[Target]":
    """The images, with the columns of `Target`."""
    return models.QuerySet(apps.get_model("images", "Image"))
