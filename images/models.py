"""Images: named things that their owners built, and who may see them."""

from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import User
from builds.models import Build, Target
from images.naming import Reference, readings

if TYPE_CHECKING:
    Viewer = User | AnonymousUser


class ImageQuerySet(models.QuerySet["Image"]):
    def visible_to(self, viewer: "Viewer") -> "ImageQuerySet":
        """What this viewer may know to exist: public ones and their own."""
        if isinstance(viewer, User):
            return self.filter(Q(public=True) | Q(owner=viewer))
        return self.filter(public=True)

    def owned_by(self, viewer: "Viewer") -> "ImageQuerySet":
        return self.filter(owner=viewer) if isinstance(viewer, User) else self.none()

    def with_build(self) -> "ImageQuerySet":
        """Everything an answer about an image needs, in one query."""
        builds = ("target__current", "target__good")
        texts = (f"{build}__{text}" for build in builds for text in ("dockerfile", "build_args"))
        return self.select_related("owner", *builds).defer(*texts)

    def newest_first(self) -> "ImageQuerySet":
        return self.order_by("-created_at", "-id")

    def meant_by(self, text: str, viewer: "Viewer", *, tagless: bool = False) -> "Image | None":
        """The one image of this set that `text` names, in any spelling.

        One's own name is tried before `owner/name`. Without a tag it is the newest of that name,
        where `tagless` allows leaving it out.
        """
        identity, references = readings(text)
        if identity is not None:
            return self._with_id(identity)
        for reference in references:
            if reference.tag is None and not tagless:
                continue
            found = self._named(reference, viewer).newest_first().first()
            if found is not None:
                return found
        return None

    def _with_id(self, identity: UUID) -> "Image | None":
        return self.filter(Q(pk=identity) | Q(reference_id=identity)).newest_first().first()

    def _named(self, reference: Reference, viewer: "Viewer") -> "ImageQuerySet":
        owned = (
            self.owned_by(viewer)
            if reference.owner is None
            else self.filter(owner__username__iexact=reference.owner)
        )
        named = owned.filter(name__iexact=reference.name)
        return named if reference.tag is None else named.filter(tag__iexact=reference.tag)


class Image(models.Model):
    """A named thing with an owner. What was built of it, and when, its target knows."""

    id = models.UUIDField(primary_key=True)
    reference_id = models.UUIDField()
    """The id as the reference server spells it."""
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="images")
    name = models.CharField(max_length=65)
    tag = models.CharField(max_length=128)
    readme = models.TextField(blank=True)
    public = models.BooleanField(default=False)
    protected = models.BooleanField(default=False)
    logo_id = models.UUIDField(null=True, blank=True)
    patch_version = models.CharField(max_length=12, default="initial")
    chutes_version = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    target = models.OneToOneField(Target, on_delete=models.PROTECT, related_name="image")

    objects = ImageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                F("owner"), Lower("name"), Lower("tag"), name="images_image_unique_per_owner"
            ),
        ]
        indexes = [
            models.Index(
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(public=True),
                name="images_image_public",
            ),
            models.Index(
                F("owner"), F("created_at").desc(), F("id").desc(), name="images_image_own"
            ),
            models.Index(fields=["reference_id"], name="images_image_reference"),
        ]

    def __str__(self) -> str:
        return f"{self.owner.username}/{self.name}:{self.tag}"

    @property
    def build(self) -> Build:
        """The attempt that the image stands at."""
        current = self.target.current
        if current is None:
            raise Build.DoesNotExist(f"image {self.pk} has no build")
        return current
