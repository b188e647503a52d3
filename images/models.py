"""Images: named things that their owners built, and who may see them."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import F, Q, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import User
from builds.models import LONG, Build, BuildQuerySet, Target
from database.substring_lookups import LowerIs
from images.naming import Reference, readings, repository

if TYPE_CHECKING:
    Viewer = User | AnonymousUser

SORTED_BY = {"ended_at": "end", "good_bytes": "size", "good_ms": "time"}
"""Columns that lists can be sorted by, with the names of their indexes."""
OVERSEE, CHANGE = "images.view_image", "images.change_image"


def oversees(viewer: "Viewer") -> bool:
    """Whether the user is an operator with the right to see all images."""
    return isinstance(viewer, User) and viewer.is_staff and viewer.has_perm(OVERSEE)


def may_change_all(user: User) -> bool:
    """Whether the user may change the description of all images, and protect them."""
    return user.is_staff and user.has_perm(CHANGE)


def overseers(ids: Collection[UUID]) -> set[UUID]:
    """Those of these users who may see all images, by their present rights, in one query."""
    able = ModelBackend().with_perm(OVERSEE)
    return set(able.filter(pk__in=ids, is_staff=True).values_list("pk", flat=True))


class ImageQuerySet(models.QuerySet["Image"]):
    def visible_to(self, viewer: "Viewer") -> "ImageQuerySet":
        """Images whose existence this viewer may know: public ones and their own."""
        if isinstance(viewer, User):
            return self.filter(Q(public=True) | Q(owner=viewer))
        return self.filter(public=True)

    def readable_by(self, viewer: "Viewer") -> "ImageQuerySet":
        """Images whose logs this viewer may read: what they see; for operators, all."""
        return self if oversees(viewer) else self.visible_to(viewer)

    def owned_by(self, viewer: "Viewer") -> "ImageQuerySet":
        return self.filter(owner=viewer) if isinstance(viewer, User) else self.none()

    def changeable_by(self, viewer: User) -> "ImageQuerySet":
        """Images that this user may change: all for operators with that right, else their own."""
        return self if may_change_all(viewer) else self.owned_by(viewer)

    def with_build(self) -> "ImageQuerySet":
        """Joins everything that an answer about an image needs, in one query."""
        builds = ("current", "good")
        texts = (f"{build}__{text}" for build in builds for text in LONG)
        return self.select_related("owner", *builds).defer(*texts)

    def newest_first(self) -> "ImageQuerySet":
        return self.order_by("-created_at", "-id")

    def meant_by(self, text: str, viewer: "Viewer", *, tagless: bool = False) -> "Image | None":
        """The one image of this set that `text` names, in any spelling.

        The caller's own names are tried before `owner/name`. With `tagless` a text without a tag is
        allowed, and means the newest image of that name.
        """
        identity, references = readings(text)
        if identity is not None and (known := self._with_id(identity)):
            return known
        for reference in references:
            if reference.tag is None and not tagless:
                continue
            found = self._named(reference, viewer).newest_first().first()
            if found is not None:
                return found
        return None

    def _with_id(self, identity: UUID) -> "Image | None":
        # One query after the other, so that each uses its index. No id of one image is a reference
        # of another.
        return (
            self.filter(pk=identity).first()
            or self.filter(reference_id=identity).newest_first().first()
        )

    def _named(self, reference: Reference, viewer: "Viewer") -> "ImageQuerySet":
        if reference.owner is None:
            owned = self.owned_by(viewer)
        else:
            owner = User.objects.filter(LowerIs("username", reference.owner)).values("pk")
            owned = self.filter(owner_id=Subquery(owner[:1]))
        named = owned.filter(LowerIs("name", reference.name))
        return named if reference.tag is None else named.filter(LowerIs("tag", reference.tag))


class ImageTallyQuerySet(models.QuerySet["ImageTally"]):
    def owned_by(self, owner_id: Any) -> "ImageTallyQuerySet":
        return self.filter(owner_id=owner_id)

    def visible_to(self, owner_id: Any) -> "ImageTallyQuerySet":
        """The images that `ImageQuerySet.visible_to` counts: all public ones, and the viewer's
        private ones."""
        return self.filter(Q(owner_id=None) | Q(owner_id=owner_id, public=False))


class ImageTally(models.Model):
    """The number of images, as the sum of rows that database triggers add with each change.

    Each row is for the private or public images of one owner or, without an owner, for all public
    images.
    """

    owner_id = models.UUIDField(null=True)
    public = models.BooleanField()
    count = models.BigIntegerField()

    objects = ImageTallyQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            # Can be read from the index alone.
            models.Index(
                fields=["owner_id", "public"], include=["count"], name="images_imagetally_counts"
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner_id or 'all'}: {self.count}"


class ImageChangeQuerySet(models.QuerySet["ImageChange"]):
    def not_seen_by(self, snapshot: str) -> "ImageChangeQuerySet":
        """Changes of transactions that were not committed in that snapshot of PostgreSQL."""
        unseen = RawSQL(
            "NOT pg_visible_in_snapshot(transaction::text::xid8, %s::pg_snapshot)",
            [snapshot],
            output_field=models.BooleanField(),
        )
        return self.filter(unseen, transaction__gte=int(snapshot.partition(":")[0]))


class ImageChange(models.Model):
    """An image that was added, removed or changed in a column that lists filter by. Triggers write
    it.

    `count` is 1 for an image that exists since then, and -1 for one that no longer exists.
    """

    count = models.SmallIntegerField()
    transaction = models.BigIntegerField()
    horizon = models.BigIntegerField()
    """All transactions with a lower id had ended."""
    at = models.DateTimeField()
    owner_id = models.UUIDField()
    public = models.BooleanField()
    name = models.CharField(max_length=65)
    tag = models.CharField(max_length=128)
    created_at = models.DateTimeField()

    objects = ImageChangeQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["transaction"], name="images_imagechange_since")]

    def __str__(self) -> str:
        return f"{self.count:+} {self.name}:{self.tag}"


class RetentionRule(models.Model):
    """An owner's rule about which images of one name are deleted automatically."""

    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="retention_rules")
    name = models.CharField(max_length=65, blank=True)
    """In lower case. Blank means every name that has no rule of its own."""
    keep_last = models.PositiveIntegerField(null=True)
    """The number of newest images that are always kept."""
    expire_days = models.PositiveIntegerField(null=True)
    """Older images are deleted. Null means all except the newest."""

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="images_retentionrule_one")
        ]

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.name or '*'}"


class Logo(models.Model):
    """A picture for images, stored in the default storage as webp."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="logos")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index("owner", "created_at", name="images_logo_own")]

    def __str__(self) -> str:
        return self.path

    @property
    def path(self) -> str:
        """Its key in the storage, and its path in URLs."""
        return f"logos/{self.pk}.webp"


class Image(Target):
    """A named thing with an owner, and the state of its builds."""

    reference_id = models.UUIDField()
    """The id as the reference server computes it."""
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="images")
    name = models.CharField(max_length=65)
    tag = models.CharField(max_length=128)
    readme = models.TextField(blank=True)
    public = models.BooleanField(default=False)
    protected = models.BooleanField(default=False)
    logo = models.ForeignKey(
        "Logo", null=True, blank=True, on_delete=models.PROTECT, related_name="images"
    )
    patch_version = models.CharField(max_length=12, default="initial")
    chutes_version = models.CharField(max_length=40, blank=True)

    objects = ImageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                F("owner"), Lower("name"), Lower("tag"), name="images_image_unique_per_owner"
            ),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(expires_at__isnull=False),
                name="images_image_expiring",
            ),
            models.Index(
                F("created_at").desc(),
                F("id").desc(),
                # Includes the visibility, so that pages far back can be read from the index alone.
                include=["public", "owner"],
                name="images_image_newest",
            ),
            models.Index(
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(protected=True),
                name="images_image_protected",
            ),
            models.Index(
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(public=True),
                name="images_image_public",
            ),
            models.Index(
                F("owner"), F("created_at").desc(), F("id").desc(), name="images_image_own"
            ),
            models.Index(
                F("state"),
                F("created_at").desc(),
                F("id").desc(),
                name="images_image_standing",
            ),
            models.Index(
                F("owner"),
                F("state"),
                F("created_at").desc(),
                F("id").desc(),
                name="images_image_own_standing",
            ),
            *(
                models.Index(F("owner"), F(key), F("id"), name=f"images_image_own_{name}")
                for key, name in SORTED_BY.items()
            ),
            *(
                models.Index(
                    F(key), F("id"), condition=Q(public=True), name=f"images_image_public_{name}"
                )
                for key, name in SORTED_BY.items()
            ),
            models.Index(
                F("owner"),
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(good=None),
                name="images_image_never_built",
            ),
            models.Index(fields=["reference_id"], name="images_image_reference"),
            models.Index(fields=["name", "id"], name="images_image_by_name"),
        ]

    def __str__(self) -> str:
        return f"{self.owner.username}/{self.name}:{self.tag}"

    def is_visible_to(self, viewer: "Viewer") -> bool:
        """The same as `visible_to`, for a row that was read already."""
        return self.public or (isinstance(viewer, User) and self.owner_id == viewer.pk)

    @property
    def attempts(self) -> BuildQuerySet:
        """The attempts that readers of this image may see: those of its owner since the image
        was made."""
        return Build.objects.filter(
            image_id=self.pk, owner_id=self.owner_id, queued_at__gte=self.created_at
        )

    def attempt(self, number: str) -> Build | None:
        """The attempt with this number, as text from a URL."""
        if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004
            return None
        return self.attempts.light().filter(number=int(number)).first()

    @property
    def build(self) -> Build:
        """The current attempt."""
        if self.current is None:
            raise Build.DoesNotExist(f"image {self.pk} has no build")
        return self.current

    @property
    def repository(self) -> str:
        """The repository in the registry, without the host."""
        return repository(self.owner.username, self.name)


class RepeatableAnswer(models.Model):
    """The answer to a request with an Idempotency-Key, for the same request when it is sent
    again."""

    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    """A hash of the request. The key is refused for a request with another hash."""
    status = models.PositiveSmallIntegerField(default=0)
    body = models.TextField(default="")
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "key"], name="images_repeatableanswer_unique_per_owner"
            )
        ]
        indexes = [models.Index(fields=["created_at"], name="images_repeatableanswer_age")]

    def __str__(self) -> str:
        return f"{self.status} at {self.created_at}"
