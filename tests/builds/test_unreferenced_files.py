"""What no row names goes late, by two looks, and not at all beside a database that was restored."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from builds import unreferenced_files
from builds.conf import BuildSettings
from builds.models import Build, UnreferencedFile
from builds.models.clock import from_now
from builds.unreferenced_files import DAY, OF_BUILDS, drop_unreferenced
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def old_at_once(
    monkeypatch: pytest.MonkeyPatch, deployment: BuildSettings, own_storage: None
) -> None:
    monkeypatch.setattr(unreferenced_files, "UNDER_WAY", timedelta(seconds=-1))


def age(days: float) -> None:
    UnreferencedFile.objects.update(seen_at=from_now(-days * DAY))


def test_a_file_goes_only_when_two_looks_far_apart_found_it_unreferenced(order: Order) -> None:
    named = order("echo hello").context_key
    unnamed = default_storage.save("contexts/unnamed", ContentFile(b"x"))
    log = default_storage.save("logs/unnamed.zst", ContentFile(b"x"))
    for days in (0.0, 6.9):
        age(days)
        drop_unreferenced(OF_BUILDS)
        assert all(default_storage.exists(each) for each in (named, unnamed, log))
    age(7.1)
    drop_unreferenced(OF_BUILDS)
    assert not default_storage.exists(unnamed)
    assert not default_storage.exists(log)
    assert default_storage.exists(named)
    assert not UnreferencedFile.objects.exists()


def test_what_is_named_again_begins_anew(order: Order) -> None:
    build = order("echo hello")
    Build.objects.filter(pk=build.pk).update(context_key="")
    drop_unreferenced(OF_BUILDS)
    age(100)
    Build.objects.filter(pk=build.pk).update(context_key=build.context_key)
    drop_unreferenced(OF_BUILDS)
    assert not UnreferencedFile.objects.exists()
    Build.objects.filter(pk=build.pk).update(context_key="")
    drop_unreferenced(OF_BUILDS)
    assert default_storage.exists(build.context_key)


def test_files_stored_after_the_backup_outlive_its_restoration(order: Order) -> None:
    """The restored database has marks of its own, and none of what came later."""
    old = default_storage.save("contexts/marked-in-the-backup", ContentFile(b"x"))
    drop_unreferenced(OF_BUILDS)
    age(3)
    newer = [default_storage.save(f"contexts/{n}", ContentFile(b"x")) for n in range(300)]
    drop_unreferenced(OF_BUILDS)
    assert all(default_storage.exists(each) for each in [old, *newer])
    assert UnreferencedFile.objects.count() == 301


def test_how_long_they_stay_is_a_setting(deployment: BuildSettings, settings: Any) -> None:
    settings.BUILDS = replace(deployment, keep_files_days=1)
    unnamed = default_storage.save("contexts/unnamed", ContentFile(b"x"))
    drop_unreferenced(OF_BUILDS)
    age(1.1)
    drop_unreferenced(OF_BUILDS)
    assert not default_storage.exists(unnamed)


def test_marks_of_files_that_somebody_else_removed_go(order: Order) -> None:
    UnreferencedFile.objects.create(key="contexts/removed-by-hand")
    age(8.1)
    drop_unreferenced(OF_BUILDS)
    assert not UnreferencedFile.objects.exists()
