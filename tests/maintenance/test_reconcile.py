"""Database, storage and registry compared: what each lacks is told, and mended on request."""

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from builds import runner
from builds.conf import BuildSettings
from builds.logs.archive import archive, drop_due_chunks
from builds.models import Build, LogChunk
from builds.registry import RegistryError, make_registry
from builds.status import Status
from config.management.commands import reconcile
from images.models import Image
from maintenance.reconcile import differences
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def built(order: Order, deployment: BuildSettings, own_storage: None) -> Build:
    build = order("echo hello")
    runner.run(build.pk)
    archive(Build.objects.get(pk=build.pk))
    build.refresh_from_db()
    assert build.state is Status.SUCCEEDED
    return build


def kinds() -> list[str]:
    return [each.kind for each in differences()]


def fix(**options: Any) -> None:
    call_command("reconcile", "--fix", **options)


def test_where_all_agree_nothing_is_told(built: Build, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("reconcile")
    assert "agree" in capsys.readouterr().out


def test_what_is_wrong_is_told_with_an_exit_code(
    built: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    default_storage.delete(built.context_key)
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile")
    assert ended.value.code == 1
    assert f"context\t{built}\t" in capsys.readouterr().out
    built.refresh_from_db()
    assert built.context_key != ""


def test_missing_files_are_forgotten(built: Build) -> None:
    default_storage.delete(built.context_key)
    default_storage.delete(built.archive_key)
    assert kinds() == ["context", "log"]
    fix()
    built.refresh_from_db()
    assert built.context_key == built.archive_key == ""
    assert built.log_lines > 0
    assert archive(built)
    built.refresh_from_db()
    LogChunk.objects.all().delete()
    drop_due_chunks()
    default_storage.delete(built.archive_key)
    fix()
    built.refresh_from_db()
    assert (built.archive_key, built.log_lines, built.log_steps) == ("", 0, [])
    assert kinds() == []


def test_an_image_whose_manifest_is_gone_says_so_and_is_built_again(
    built: Build, deployment: BuildSettings, order: Order
) -> None:
    make_registry(deployment).delete(built.repository, built.digest)
    assert kinds() == ["manifest"]
    fix()
    image = Image.objects.select_related("current").get(pk=built.image_id)
    assert (image.good, image.state, image.build.state) == (None, "failed", Status.FAILED)
    assert "no longer in the registry" in image.build.failure_text
    assert kinds() == []
    again = order("echo hello", image_id=built.image_id)
    runner.run(again.pk)
    image.refresh_from_db()
    assert image.good_id == again.pk


def test_a_tag_that_names_something_else_is_moved_back(
    built: Build, order: Order, deployment: BuildSettings
) -> None:
    registry = make_registry(deployment)
    registry.delete_tag(built.repository, built.tag)
    assert kinds() == ["tag"]
    fix()
    assert registry.digest_of(built.repository, built.tag) == built.digest


def test_what_no_row_names_is_told_and_left(built: Build, deployment: BuildSettings) -> None:
    unnamed = default_storage.save("contexts/unnamed", ContentFile(b"x"))
    registry = make_registry(deployment)
    registry.tag_digest(built.repository, built.digest, tag="other")
    assert kinds() == ["unnamed-file", "unnamed-tag"]
    fix()
    assert default_storage.exists(unnamed)
    assert registry.digest_of(built.repository, "other") == built.digest


def test_a_registry_that_does_not_answer_marks_nothing(
    built: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise RegistryError("the registry cannot be reached")

    monkeypatch.setattr("builds.registry.client.Registry.digest_of", away)
    with pytest.raises(CommandError, match="cannot compare"):
        fix()
    assert Image.objects.get(pk=built.image_id).good_id == built.pk


def test_most_images_are_marked_as_gone_only_by_force(
    built: Build, deployment: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "FEW", 0)
    make_registry(deployment).delete(built.repository, built.digest)
    with pytest.raises(CommandError, match="SLIPWAY_REGISTRY"):
        fix()
    fix(force=True)
    assert Image.objects.get(pk=built.image_id).good is None
