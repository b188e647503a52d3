"""What every test may use: the cast, a real registry, and a deployment of its own."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from accounts.models import User
from builds import actors
from builds.conf import BuildSettings
from builds.engine_factory import engine
from builds.lifecycle import BuildRequest, request_build
from builds.logs.reader import page
from builds.models import Build, BuildQuerySet
from builds.quarantine import Quarantine
from builds.queue import status as queue_status
from builds.status import Status, state_word
from builds.worker import WORKER
from builds.worker_checks import WORKER_CHECKS
from images.models import Image
from tests.registry import running_registry

pytest_plugins = ["tests.cast"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a database of a server's, only what needs one is run again."""
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return
    asks = [each for each in items if _asks_a_database(each)]
    config.hook.pytest_deselected(items=[each for each in items if each not in set(asks)])
    items[:] = asks


def _asks_a_database(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    marked = any(item.get_closest_marker(name) for name in ("django_db", "servers"))
    # Hypothesis with a database is a TestCase of Django's.
    cased = isinstance(item, pytest.Function) and issubclass(
        item.cls or object, TransactionTestCase
    )
    return marked or cased or not {"db", "transactional_db"}.isdisjoint(fixtures)


@pytest.fixture(scope="session", autouse=True)
def quiet_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database is dropped at the end, so by then nobody may be connected to it.

    A pool may be opening a connection just then, and the thread in which asyncio tests ask the
    database keeps its own: both are ended.
    """
    yield
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "postgresql" or not name.startswith("test_"):
        return
    with django_db_blocker.unblock():
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
        with connection._nodb_cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                [name],
            )


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> None:
    """Django's hash is slow on purpose, and most of what a test that makes an operator takes."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def fresh_queue_views() -> None:
    """What is told of the queue is read each time."""
    queue_status.SHARED_SECONDS = 0.0


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


Order = Callable[..., Build]


def zipped(**members: str) -> bytes:
    """A context; `_` in a name stands for a dot."""
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return file.getvalue()


def script(*steps: str) -> str:
    """A Dockerfile that the scripted engine plays."""
    return "\n".join(["FROM scratch", *(f"RUN scripted: {step}" for step in steps), ""])


@pytest.fixture
def own_storage(settings: Any, tmp_path: Path) -> None:
    """A default storage that no other test stores in."""
    default = {**settings.STORAGES["default"], "OPTIONS": {"location": tmp_path / "own-files"}}
    settings.STORAGES = {**settings.STORAGES, "default": default}


@pytest.fixture
def deployment(settings: Any, tmp_path: Path, registry: str) -> Iterator[BuildSettings]:
    """Settings of a small deployment with a real registry and the scripted engine."""
    settings.BUILDS = replace(
        settings.BUILDS,
        engine="scripted",
        data_dir=tmp_path,
        registry=registry,
        registry_insecure=True,
        redis_url="",
    )
    engine.cache_clear()
    WORKER.stopping.clear()
    WORKER.leaving.clear()
    WORKER.quarantine = Quarantine()
    WORKER_CHECKS.forget()
    yield settings.BUILDS
    WORKER.stopping.clear()
    WORKER.leaving.clear()
    WORKER.quarantine = Quarantine()
    engine.cache_clear()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids that were put into the queue, which nobody works on."""
    ids: list[Any] = []
    monkeypatch.setattr(actors, "send_builds", ids.extend)
    monkeypatch.setattr(actors.remove_image, "send", lambda **_: None)
    return ids


def stand(builds: BuildQuerySet, status: str, **values: Any) -> None:
    """As if the builds had come there, by whichever moves."""
    ids = list(builds.values_list("pk", flat=True))
    Build.objects.filter(pk__in=ids).update(status=status, **values)
    Image.objects.filter(current__in=ids).update(state=state_word(Status(status)))


def misplaced() -> list[tuple[Image, Build]]:
    """Images that say something else than their current attempts of where those stand."""
    images = Image.objects.with_build().filter(current__isnull=False)
    return [(each, each.build) for each in images if each.state != state_word(each.build.state)]


@pytest.fixture
def standing(db: None) -> Iterator[None]:
    """Whatever a test did, images and their attempts agree in the end."""
    yield
    assert not misplaced()


@pytest.fixture
def order(deployment: BuildSettings, sent: list[Any], owner: User, standing: None) -> Order:
    """Asks for a build as the catalog does, of a new image or of one that there is."""

    def ask(*steps: str, dockerfile: str = "", **values: Any) -> Build:
        name = values.pop("name", f"image-{uuid4().hex[:8]}")
        key = default_storage.save(f"contexts/{uuid4().hex}.zip", ContentFile(zipped(a_txt="a")))
        image, _ = Image.objects.get_or_create(
            pk=values.pop("image_id", uuid4()),
            defaults={"reference_id": uuid4(), "owner": owner, "name": name, "tag": "1"},
        )
        request = BuildRequest(
            image_id=image.pk,
            owner_id=owner.pk,
            label=f"{owner.username}/{name}:1",
            dockerfile=dockerfile or script(*steps),
            build_args=values.pop("build_args", {}),
            target=values.pop("target", ""),
            no_cache=values.pop("no_cache", False),
            pull=values.pop("pull", False),
            labels=values.pop("labels", {}),
            resource_class=values.pop("resource_class", "default"),
            context_key=key,
            context_sha256="0" * 64,
            context_bytes=1,
        )
        return request_build(request)

    return ask


def log_of(build: Build) -> list[tuple[str, str]]:
    """Every stored line of an attempt as (stream, text)."""
    lines: list[tuple[str, str]] = []
    at = 0
    while found := page(build.image_id, attempt=build.number, line=at):
        if not found.lines:
            break
        lines += [(line.stream, line.text) for line in found.lines]
        at = found.stop
    return lines
