"""Which images a text means that an operator typed or pasted; None where it is just words."""

import re

from django.db.models import Q

from builds.conf import build_settings
from builds.models import Build
from images.models import ImageQuerySet
from images.naming import readings

DIGEST = re.compile(r"sha256:[0-9a-f]{6,64}|[0-9a-f]{64}")


def meant(images: ImageQuerySet, text: str) -> ImageQuerySet | None:
    """By digest (or its beginning), by any spelling of an id, by reference or pull command."""
    text = text.strip().removeprefix("docker pull ").strip()
    text = text.removeprefix(f"{build_settings().registry}/")
    digest = text.rpartition("@")[2].lower()
    if DIGEST.fullmatch(digest):
        begin = digest if digest.startswith("sha256:") else f"sha256:{digest}"
        return images.filter(
            pk__in=Build.objects.filter(digest__startswith=begin).values("image_id")
        )
    identity, references = readings(text)
    if identity is not None:
        attempts = Build.objects.filter(pk=identity).values("image_id")
        ids = Q(pk=identity) | Q(reference_id=identity) | Q(pk__in=attempts)
        return images.filter(ids | Q(name__iexact=text))
    if "/" not in text and ":" not in text:
        return None
    named = Q(pk=None)
    for each in references:
        part = Q(name__istartswith=each.name)
        if each.tag is not None:
            part = Q(name__iexact=each.name, tag__istartswith=each.tag)
        if each.owner is not None:
            part &= Q(owner__username__iexact=each.owner)
        named |= part
    return images.filter(named)
