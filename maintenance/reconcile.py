"""Compares database, storage and registry, and repairs the database if it names missing data.

For use after a restore, or after somebody removed files by hand. Data that the database does not
name is only reported, because a backup may be older than the data.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import connections, transaction
from django.utils import timezone

from builds.conf import build_settings
from builds.failures import MANIFEST_GONE
from builds.models import Build, LogChunk
from builds.registry import Registry, make_registry
from builds.status import Status, state_word
from builds.unreferenced_files import OF_BUILDS
from images import logos
from images.models import Image, Logo
from storage.interface import files

THREADS = 8
BATCH = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that one part has and another does not have."""

    kind: str
    """`context`, `log`, `logo`, `tag`, `manifest`, `unnamed-file` or `unnamed-tag`."""
    subject: str
    """What the difference is about: `owner/name:tag`, with the attempt's number, or a key."""
    text: str
    mend: Callable[[], None] | None = None
    """Changes the database or the public tag to agree with what exists."""


def differences() -> Iterator[Difference]:
    """All differences, part by part. Raises OSError or RegistryError if a part does not answer."""
    yield from _storage()
    yield from _unnamed_files()
    yield from _registry()


def _storage() -> Iterator[Difference]:
    named = Build.objects.filter(discarded_at=None).exclude(context_key="", archive_key="")
    for build in named.light().iterator(chunk_size=BATCH):
        if build.context_key and not default_storage.exists(build.context_key):
            text = "its context is not stored: it cannot be built again"
            yield Difference("context", str(build), text, partial(_forget_context, build.pk))
        if build.archive_key and not default_storage.exists(build.archive_key):
            text = "its log is not stored"
            yield Difference("log", str(build), text, partial(_forget_log, build.pk))
    for logo in Logo.objects.iterator(chunk_size=BATCH):
        if not default_storage.exists(logo.path):
            yield Difference("logo", logo.path, "is not stored", partial(_forget_logo, logo.pk))


def _unnamed_files() -> Iterator[Difference]:
    for folder, named in {**OF_BUILDS, logos.FOLDER: logos.named}.items():
        keys = set(files().old(folder, before=timezone.now()))
        for key in sorted(keys - named(keys)):
            days = build_settings().keep_files_days
            yield Difference("unnamed-file", key, f"no row names it: it goes after {days} days")


def _registry() -> Iterator[Difference]:
    registry = make_registry(build_settings())
    images = Image.objects.exclude(good=None).select_related("owner", "good").order_by("pk")
    with ThreadPoolExecutor(THREADS, thread_name_prefix="reconcile") as threads:
        left = images.iterator(BATCH)
        while batch := list(islice(left, BATCH)):
            found = threads.map(partial(_compare, registry), batch)
            yield from (each for each in found if each is not None)
    yield from _unnamed_tags(registry)


def _compare(registry: Registry, image: Image) -> Difference | None:
    try:
        good = image.good
        assert good is not None  # noqa: S101  (the query asks for nothing else)
        if registry.digest_of(good.repository, good.digest) is None:
            text = "its manifest is not in the registry: it cannot be pulled"
            return Difference("manifest", str(image), text, partial(_mark_gone, image))
        if registry.digest_of(good.repository, good.tag) != good.digest:
            text = "its tag names something else in the registry"
            return Difference("tag", str(image), text, partial(_tag, registry, good))
        return None
    finally:
        connections.close_all()


def _unnamed_tags(registry: Registry) -> Iterator[Difference]:
    """Only in repositories of images: the registry gives us no list of other repositories."""
    tags: dict[str, set[str]] = {}
    for build in Build.objects.filter(purged_at=None).only("label").iterator(chunk_size=BATCH):
        tags.setdefault(build.repository, set()).update({build.tag, build.attempt_tag})
    for repository, named in sorted(tags.items()):
        for tag in registry.tags(repository):
            if tag.lower() not in {each.lower() for each in named}:
                yield Difference("unnamed-tag", f"{repository}:{tag}", "no image names it")


def _forget_context(pk: UUID) -> None:
    Build.objects.filter(pk=pk).update(context_key="", context_superseded=False)


def _forget_log(pk: UUID) -> None:
    """Archives the log again if its chunks still exist; else it has no lines."""
    lost = Build.objects.filter(pk=pk)
    if LogChunk.objects.filter(build_id=pk).exists():
        lost.update(archive_key="", chunks_due_at=None)
        return
    empty: dict[str, object] = {"log_lines": 0, "log_chunks": 0, "log_bytes": 0, "log_steps": []}
    lost.update(archive_key="", chunks_due_at=None, gap_start=0, gap_stop=0, **empty)


def _forget_logo(pk: UUID) -> None:
    with transaction.atomic():
        Image.objects.filter(logo=pk).update(logo=None)
        Logo.objects.filter(pk=pk).delete()


def _mark_gone(image: Image) -> None:
    """Marks the image: it must be built again, and its owner may send it again."""
    if image.good_id is None:
        return
    with transaction.atomic():
        held = Image.objects.select_for_update().filter(pk=image.pk, good=image.good_id)
        if not held.exists():
            return
        ended = Build.objects.filter(pk=image.good_id, status=Status.SUCCEEDED)
        ended.update(
            status=Status.FAILED,
            failure_fault=MANIFEST_GONE.fault,
            failure_code=MANIFEST_GONE.code,
            failure_text=MANIFEST_GONE.text,
        )
        held.filter(current=image.good_id).update(state=state_word(Status.FAILED))
        held.update(good=None, good_bytes=0, good_ms=0, expires_at=None)


def _tag(registry: Registry, good: Build) -> None:
    registry.tag_digest(good.repository, good.digest, tag=good.tag)
