"""Decides who may pull what, in terms of repositories and references, as registries do.

An image is `repository:tag`, and a repository may have private and public images. A registry's
tokens are valid for whole repositories. If our proxy also checks each request, a token is issued
for a repository with at least one visible image; otherwise only if all its images are visible.
"""

from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models.functions import Lower

from accounts import scopes
from accounts.models import ApiKey, User
from builds.conf import build_settings
from builds.models import Build
from images.models import Image, ImageQuerySet


@dataclass(frozen=True)
class Puller:
    """The client of a pull: anonymous, the holder of an API key, or a build of an owner."""

    subject: str = ""
    """The subject in tokens: empty, `key:<id>` or `owner:<id>`."""
    user: User | None = None
    scopes: tuple[str, ...] = (scopes.ALL,)

    @classmethod
    def with_key(cls, key: ApiKey) -> "Puller":
        return cls(f"key:{key.pk}", key.user, tuple(key.scopes))

    @classmethod
    def named(cls, subject: str) -> "Puller | None":
        """The puller of a token's subject, with its current rights. None if it may not pull now."""
        kind, _, identity = subject.partition(":")
        if kind == "key":
            key = ApiKey.objects.usable().select_related("user").filter(pk=identity).first()
            return cls.with_key(key) if key else None
        if kind == "owner":
            owner = User.objects.filter(pk=identity, is_active=True).first()
            return cls(subject, owner) if owner else None
        return cls()

    @property
    def reads(self) -> bool:
        """Whether the scopes allow reading any image at all."""
        return scopes.allows_some(self.scopes, "images", scopes.READ)

    def sees(self, repository: str, reference: str | None = None) -> bool:
        """Whether any image of the repository is visible, or the one with this tag or digest."""
        images = self._images(repository)
        if reference is None:
            return images.exists()
        if not reference.startswith("sha256:"):
            return images.filter(tag=reference).exists()
        attempts = Build.objects.filter(image_id__in=images.values("pk"), discarded_at=None)
        return attempts.filter(digest=reference).exists()

    def may_pull(self, repository: str) -> bool:
        """Whether a token for the repository may be issued."""
        if not self.sees(repository):
            return False
        return build_settings().registry_guarded or not self._hidden(repository)

    def tags(self, repository: str) -> list[str]:
        """The tags of the visible images of a repository, sorted."""
        return sorted(self._images(repository).values_list("tag", flat=True))

    def _images(self, repository: str) -> ImageQuerySet:
        """The images that are visible and have a successful build.

        Without this condition, a new image with the name of a deleted one could give access to the
        leftovers of the deleted one.
        """
        return self._seen(repository).exclude(good=None)

    def _seen(self, repository: str) -> ImageQuerySet:
        seen = in_repository(repository).visible_to(self.user or AnonymousUser())
        if scopes.allows(self.scopes, "images", scopes.READ):
            return seen
        granted = f"images:{scopes.READ}:"
        single = [UUID(each.removeprefix(granted)) for each in self.scopes if granted in each]
        return seen.filter(pk__in=single)

    def _hidden(self, repository: str) -> bool:
        """Whether the repository has anything hidden, including leftovers of deleted images."""
        if in_repository(repository).exclude(pk__in=self._seen(repository).values("pk")).exists():
            return True
        owner = repository.partition("/")[0]
        if self.user is not None and self.user.username.lower() == owner:
            return False
        left = Build.objects.filter(discarded_at__isnull=False, purged_at=None)
        return any(build.repository == repository for build in left.only("label"))


def owner_may_pull(owner_id: UUID, repository: str) -> bool:
    """Whether a build of the owner may pull from the repository."""
    puller = Puller.named(f"owner:{owner_id}")
    return puller is not None and puller.may_pull(repository)


def in_repository(repository: str) -> ImageQuerySet:
    """All images of a repository `owner/name`, which registries write in lower case."""
    owner, _, name = repository.partition("/")
    named = Image.objects.alias(owner_part=Lower("owner__username"), name_part=Lower("name"))
    return named.filter(owner_part=owner, name_part=name)
