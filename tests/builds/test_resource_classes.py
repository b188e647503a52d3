"""Named sizes: who may use which, and what a build of one may use."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import User
from builds import runner
from builds.build_spec import BuildSpec, Limits
from builds.conf import BuildSettings
from builds.engines.buildkit import builders as module
from builds.engines.buildkit.builders import Builders
from builds.engines.sandbox.settings import EngineSettings
from builds.models import Build, QueueOwner, ResourceClass, ResourceClassGrant
from builds.resource_classes import ClassRefused, choose, size_of, sizes_for
from builds.worker import WORKER
from images import catalog
from images.models import Image
from tests.conftest import Order, log_of, stand

pytestmark = pytest.mark.django_db

PAGE = "/admin/builds/resourceclass/"


def made(name: str = "large", **values: Any) -> ResourceClass:
    sizes = {"cpus": 8, "memory_mb": 512, "disk_mb": 256, "deadline": 60}
    return ResourceClass.objects.create(name=name, **{**sizes, **values})


def test_without_a_name_builds_get_the_default_that_their_owner_may_use(
    owner: User, stranger: User
) -> None:
    assert choose(owner.pk, "") == "default"
    large = made(is_default=True, everybody=False)
    ResourceClassGrant.objects.create(resource_class=large, user=owner)
    assert (choose(owner.pk, ""), choose(stranger.pk, "")) == ("large", "default")
    assert choose(owner.pk, "default") == "default"
    assert [each.name for each in sizes_for(owner.pk)] == ["default", "large"]
    for name in ("large", "huge"):
        with pytest.raises(ClassRefused, match="there is default"):
            choose(stranger.pk, name)


def test_a_size_is_that_of_its_class_or_of_the_settings(deployment: BuildSettings) -> None:
    made()
    limits = size_of("large").limits
    assert (limits.cpus, limits.memory_bytes, limits.disk_bytes) == (8, 512 << 20, 256 << 20)
    assert limits.cache_bytes == limits.disk_bytes
    assert limits.pids == deployment.limits.pids
    for name in ("default", "removed"):
        assert size_of(name).limits == deployment.limits
        assert size_of(name).deadline_seconds == deployment.deadline_seconds


@pytest.mark.parametrize("name", ["default", "Large", "-a", "a_b", ""])
def test_names_are_checked_and_the_settings_own_one_is_taken(name: str) -> None:
    with pytest.raises(ValidationError):
        ResourceClass(name=name, cpus=1, memory_mb=64, disk_mb=64, deadline=1).full_clean()


@pytest.mark.django_db(transaction=True)
def test_a_build_gets_the_limits_and_the_deadline_of_its_class(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(deadline=1)
    specs = []
    engine = runner.engine()
    build_it = engine.build

    def watched(spec: BuildSpec) -> Any:
        specs.append(spec)
        return build_it(spec)

    monkeypatch.setattr(engine, "build", watched)
    build = order("sleep 60", resource_class="large")
    WORKER.sign_on()
    assert runner.run(build.pk)
    build.refresh_from_db()
    [spec] = specs
    assert spec.limits == size_of("large").limits
    assert (build.failure_code, build.resource_class) == ("deadline", "large")
    assert "longer than 1 s" in log_of(build)[-1][1]
    again = catalog.rebuild(Image.objects.with_build().get(pk=build.image_id))
    assert again.build.resource_class == "large"


class Sandbox:
    """What the helper hands out."""

    def __init__(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self.limits: list[Limits] = []
        self.closed = False

    def has_ended(self) -> bool:
        return self.closed

    def set_limits(self, limits: Limits) -> None:
        self.limits.append(limits)

    def trim(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Helper:
    def __init__(self) -> None:
        self.started: list[Sandbox] = []

    def start_builder(self, owner: Any, *, cache_bytes: int, **_: Any) -> Sandbox:
        self.started.append(Sandbox(cache_bytes))
        return self.started[-1]


def test_a_warm_builder_gets_the_limits_of_the_next_build_unless_its_disk_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "denied", lambda _: [])
    helper: Any = Helper()
    settings = EngineSettings(
        root=tmp_path, engine_root=tmp_path, helper_socket=tmp_path / "s", cache_bytes=1 << 30
    )
    builders, owner = Builders(settings, helper), uuid4()
    small = Limits(memory_bytes=1 << 28, pids=100, cpus=1, disk_bytes=1 << 30)
    large = replace(small, memory_bytes=1 << 30, cpus=4)
    huge = replace(large, disk_bytes=8 << 30, cache_bytes=8 << 30)
    for limits in (small, large, huge):
        with builders.use(owner, network=False, limits=limits) as lease:
            lease.keep = True
    first, second = helper.started
    assert (first.cache_bytes, first.limits, first.closed) == (1 << 30, [large], True)
    assert second.cache_bytes == 8 << 30


@pytest.mark.django_db(transaction=True)
def test_operators_define_classes_and_say_for_whom(
    counter: Client, owner: User, order: Order
) -> None:
    sizes = {"cpus": "2.5", "memory_mb": "1024", "disk_mb": "2048", "deadline": "600"}
    grants = {
        "grants-TOTAL_FORMS": "1",
        "grants-INITIAL_FORMS": "0",
        "grants-0-user": str(owner.pk),
    }
    answer = counter.post(f"{PAGE}add/", {"name": "large", **sizes, **grants})
    assert answer.status_code == 302, answer.context["errors"]
    assert not ResourceClass.objects.get().everybody
    assert choose(owner.pk, "large") == "large"
    listed = counter.get(PAGE).content.decode()
    assert "large" in listed
    assert "2 processors, 4096 MiB memory" in listed
    order("echo hello", resource_class="large")
    assert counter.post(f"{PAGE}large/delete/", {"post": "yes"}).status_code == 403
    stand(Build.objects.light(), "failed")
    assert counter.post(f"{PAGE}large/delete/", {"post": "yes"}).status_code == 302
    assert not ResourceClass.objects.exists()


def test_operators_set_a_users_share_of_the_queue(counter: Client, owner: User) -> None:
    page = f"/admin/accounts/user/{owner.pk}/change/"
    form = counter.get(page).context["adminform"].form
    values = {name: value for name, value in form.initial.items() if value is not None}
    assert (values["queue_weight"], values["queue_priority"]) == (1, 0)
    values |= {"queue_weight": "3", "queue_priority": "1", "most_running": "2"}
    values.pop("is_superuser", None)
    answer = counter.post(page, {**values, "is_active": "on"})
    assert answer.status_code == 302, answer.context["errors"]
    row = QueueOwner.objects.get(pk=owner.pk)
    assert (row.weight, row.priority, row.most_running) == (3, 1, 2)
    wrong = counter.post(page, {**values, "queue_weight": "0", "most_running": "-1"})
    assert {"queue_weight", "most_running"} <= wrong.context["adminform"].form.errors.keys()
    row.refresh_from_db()
    assert row.weight == 3


def test_strangers_to_the_admin_change_nothing(client: Client, owner: User) -> None:
    client.force_login(owner)
    assert client.post(f"{PAGE}add/", {}).status_code in (302, 403)
    assert not ResourceClass.objects.exists()
