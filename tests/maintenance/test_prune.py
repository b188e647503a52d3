"""What is old goes when the settings say so, and nothing that an image stands on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.sessions.models import Session
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from accounts.models import ApiKey, User
from builds import reaper, runner
from builds.conf import BuildSettings
from builds.lifecycle import ContextGone
from builds.logs.archive import archive
from builds.models import Build, LogChunk
from builds.registry import make_registry
from config.env import environment
from images import catalog
from images.models import Image
from maintenance import prune as module
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)
AGO = timedelta(days=31)
Keep = Callable[..., None]


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Sets for how many days what is kept."""

    def set_days(**days: int) -> None:
        values: dict[str, Any] = {f"keep_{name}_days": n for name, n in days.items()}
        changed = replace(environment(), **values)
        monkeypatch.setattr(module, "environment", lambda: changed)

    return set_days


def prune() -> None:
    call_command("prune", "--yes")


@pytest.fixture
def twice(order: Order, owner: User) -> tuple[Build, Build]:
    """An image that was built, and built again; a month ago."""
    first = order("echo one")
    runner.run(first.pk)
    second = catalog.rebuild(Image.objects.get(pk=first.image_id)).build
    runner.run(second.pk)
    for build in Build.objects.filter(image_id=first.image_id):
        archive(build)
    Build.objects.update(ended_at=timezone.now() - AGO)
    first.refresh_from_db()
    second.refresh_from_db()
    return first, second


def test_by_default_nothing_but_dead_sessions_goes(
    twice: tuple[Build, Build], capsys: pytest.CaptureFixture[str]
) -> None:
    Session.objects.create(session_key="old", expire_date=timezone.now() - AGO)
    Session.objects.create(session_key="new", expire_date=timezone.now() + AGO)
    call_command("prune")
    said = capsys.readouterr().out
    assert "sessions: 1 would go" in said
    assert "attempts: kept for ever" in said
    assert Session.objects.count() == 2
    prune()
    assert [each.session_key for each in Session.objects.all()] == ["new"]
    assert Build.objects.filter(discarded_at=None).count() == 2


def test_superseded_attempts_go_whole_and_the_good_one_stays(
    twice: tuple[Build, Build], keep: Keep, deployment: BuildSettings
) -> None:
    first, second = twice
    registry = make_registry(deployment)
    keep(attempts=32)
    prune()
    assert Build.objects.filter(discarded_at=None).count() == 2
    keep(attempts=30)
    prune()
    reaper.purge()
    first.refresh_from_db()
    assert first.purged_at is not None
    assert registry.digest_of(first.repository, first.attempt_tag) is None
    assert registry.digest_of(second.repository, second.tag) == second.digest
    assert not default_storage.exists(f"logs/{first.pk.hex}")
    assert default_storage.exists(second.context_key)
    Build.objects.filter(pk=first.pk).update(purged_at=timezone.now() - AGO)
    prune()
    assert [each.pk for each in Build.objects.all()] == [second.pk]
    image = Image.objects.get(pk=second.image_id)
    assert catalog.rebuild(image).build.number == 3


def test_an_attempt_whose_image_is_that_of_the_good_one_loses_its_tag_alone(
    twice: tuple[Build, Build], keep: Keep, deployment: BuildSettings
) -> None:
    first, second = twice
    registry = make_registry(deployment)
    registry.tag_digest(second.repository, second.digest, tag=first.attempt_tag)
    Build.objects.filter(pk=first.pk).update(digest=second.digest)
    keep(attempts=30)
    prune()
    reaper.purge()
    assert registry.digest_of(first.repository, first.attempt_tag) is None
    assert registry.digest_of(second.repository, second.digest) == second.digest


def test_logs_and_contexts_go_and_the_image_stays(
    twice: tuple[Build, Build], keep: Keep, deployment: BuildSettings
) -> None:
    _, second = twice
    keep(logs=30, contexts=30)
    prune()
    second.refresh_from_db()
    assert (second.log_lines, second.archive_key, second.context_key) == (0, "", "")
    assert not LogChunk.objects.exists()
    with pytest.raises(ContextGone):
        catalog.rebuild(Image.objects.get(pk=second.image_id))
    assert make_registry(deployment).digest_of(second.repository, second.tag) == second.digest


def test_old_entries_of_the_audit_log_and_dead_keys_go(owner: User, keep: Keep) -> None:
    for name in ("revoked", "expired", "lately", "used"):
        ApiKey.objects.issue(owner, label=name)
    before = timezone.now() - AGO
    dead: dict[str, dict[str, Any]] = {
        "revoked": {"revoked_at": before},
        "expired": {"expires_at": before},
        "lately": {"revoked_at": timezone.now()},
    }
    for label, values in dead.items():
        ApiKey.objects.filter(label=label).update(**values)
    for days in (31, 1):
        entry = LogEntry.objects.create(
            user_id=owner.pk, object_repr="x", action_flag=CHANGE, change_message=str(days)
        )
        LogEntry.objects.filter(pk=entry.pk).update(
            action_time=timezone.now() - timedelta(days=days)
        )
    keep(audit=30, keys=30)
    prune()
    assert {each.label for each in ApiKey.objects.all()} == {"lately", "used"}
    assert [each.change_message for each in LogEntry.objects.all()] == ["1"]
