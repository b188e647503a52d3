"""Finds the images that an operator's search text means; None if it is only words."""

import re
from uuid import UUID

from django.db.models import Q

from accounts.models import User
from builds.conf import build_settings
from builds.models import Build, BuildQuerySet
from database.substring_lookups import indexed
from images.models import ImageQuerySet
from images.naming import readings

MOST = 1_000
LETTER = re.compile(r"\w")
DIGEST = re.compile(r"sha256:[0-9a-f]{6,64}|[0-9a-f]{64}")


def meant(images: ImageQuerySet, text: str) -> ImageQuerySet | None:
    """By digest or its beginning, by any spelling of an id, by reference or pull command."""
    text = text.strip().removeprefix("docker pull ").strip()
    text = text.removeprefix(f"{build_settings().registry}/")
    digest = text.rpartition("@")[2].lower()
    if DIGEST.fullmatch(digest):
        begin = digest if digest.startswith("sha256:") else f"sha256:{digest}"
        return images.filter(pk__in=_images_of(Build.objects.filter(digest__startswith=begin)))
    identity, references = readings(text)
    if identity is not None:
        attempts = _images_of(Build.objects.filter(pk=identity))
        ids = Q(pk__in=[identity, *attempts]) | Q(reference_id=identity)
        return images.filter(ids | Q(name=text))
    if "/" not in text and ":" not in text:
        return None
    named = Q(pk=None)
    for each in references:
        part = Q(name__istartswith=each.name)
        if each.tag is not None:
            part = Q(name__iexact=each.name, tag__istartswith=each.tag)
        if each.owner is not None:
            part &= Q(owner__in=_owners(username__iexact=each.owner))
        named |= part
    return images.filter(named)


def words(images: ImageQuerySet, text: str) -> ImageQuerySet:
    """Images with every word in name, tag or owner's name.

    A word of one or two letters is only searched at the beginning of these, because a search within
    a million images takes too long.
    """
    for word in filter(LETTER.search, text.split()):
        how = "icontains" if indexed(word) else "istartswith"
        owners = _owners(**{f"username__{how}": word})
        images = images.filter(
            Q(**{f"name__{how}": word}) | Q(**{f"tag__{how}": word}) | Q(owner__in=owners)
        )
    return images


def _images_of(builds: BuildQuerySet) -> list[UUID]:
    """Runs this query first, because no index helps with an OR over two tables."""
    return list(builds.values_list("image_id", flat=True)[:MOST])


def _owners(**by: str) -> list[UUID]:
    return list(User.objects.filter(**by).order_by("pk").values_list("pk", flat=True)[:MOST])
