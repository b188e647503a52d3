"""The system page: what it shows to whom, and the switches on it."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from builds import runner, statistics
from builds.engines.sandbox.helper import CacheInfo
from builds.host_stats import measure
from builds.models import Build, Pause, Worker
from builds.models.incidents import KEPT, Incident
from builds.worker import WORKER, ThisWorker
from observability import health
from observability.health_poll import ASKED, Checkup
from tests.conftest import Order, stand

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/system/"


@pytest.fixture
def turner(desk: Client, stranger: User) -> Client:
    """Somebody who may look and turn, and is no superuser."""
    User.objects.filter(pk=stranger.pk).update(is_staff=True)
    names = ["view_worker", "change_worker", "view_build"]
    stranger.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(User.objects.get(pk=stranger.pk))
    return client


@pytest.fixture(autouse=True)
def well(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every dependency, and at once."""
    monkeypatch.setattr(health, "CHECKS", {"database": lambda: None})
    monkeypatch.setattr("dashboard.system.CHECKUP", Checkup())
    return


def read(client: Client, path: str = PAGE) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_page_shows_workers_what_they_do_and_what_waits(turner: Client, order: Order) -> None:
    WORKER.sign_on()
    running, _ = order("echo hello", name="running"), order("echo hello", name="waiting")
    with WORKER.claim(running.pk):
        page = read(turner)
    assert "owner/running:1 #1</a> building" in page
    assert '<strong>1</strong> <a href="/admin/builds/build/queue/">waiting</a>' in page
    assert "<strong>1</strong> running" in page
    assert "1 of 2 at once" in page


def test_a_worker_that_fell_silent_is_shown_so(turner: Client) -> None:
    ThisWorker().sign_on()
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=1))
    assert '<span class="word silent">silent</span>' in read(turner)


def test_a_worker_in_quarantine_is_shown_with_the_reason(turner: Client, order: Order) -> None:
    worker = ThisWorker()
    worker.sign_on()
    worker.begin_quarantine("disk: 0 MiB are free")
    page = read(turner)
    assert '<span class="word quarantined">quarantined</span>' in page
    assert "disk: 0 MiB are free" in page
    assert "next check" in page
    worker.end_quarantine()
    assert "quarantined" not in read(turner)


def test_the_queue_is_paused_and_resumed_after_a_confirmation_and_written_down(
    turner: Client, stranger: User
) -> None:
    asked = read(turner, f"{PAGE}pause/")
    assert "No worker takes another build" in asked
    assert not Pause.objects.exists()
    turner.post(f"{PAGE}pause/")
    assert Pause.objects.get().by == stranger.username
    assert "Resume the queue" in read(turner)
    turner.post(f"{PAGE}resume/")
    assert not Pause.objects.exists()
    told = LogEntry.objects.order_by("pk").values_list("user", "change_message")
    assert list(told) == [(stranger.pk, "Pause the queue."), (stranger.pk, "Resume the queue.")]


def test_of_two_who_pause_one_did_it(turner: Client) -> None:
    turner.post(f"{PAGE}pause/")
    page = turner.post(f"{PAGE}pause/", follow=True).content.decode()
    assert "Nothing to do" in page
    assert LogEntry.objects.count() == 1


def test_a_worker_is_drained_and_undrained(turner: Client) -> None:
    WORKER.sign_on()
    path = f"{PAGE}workers/{WORKER.name}/"
    assert "0 builds run, and go on." in read(turner, f"{path}drain/")
    turner.post(f"{path}drain/")
    assert Worker.objects.get().draining
    assert '<span class="word drained">drained</span>' in read(turner)
    turner.post(f"{path}undrain/")
    assert not Worker.objects.get().draining
    assert LogEntry.objects.count() == 2


def test_a_worker_that_has_gone_is_not_switched_but_told_of(turner: Client) -> None:
    page = turner.post(f"{PAGE}workers/gone:1:00/drain/", follow=True).content.decode()
    assert "has gone" in page
    assert not LogEntry.objects.exists()


def test_there_are_no_other_switches(turner: Client) -> None:
    WORKER.sign_on()
    assert turner.get(f"{PAGE}explode/").status_code == 404
    assert turner.get(f"{PAGE}workers/{WORKER.name}/pause/").status_code == 404


@pytest.mark.parametrize("may_look", [True, False])
def test_who_may_not_turn_sees_no_switch_and_who_may_not_look_sees_nothing(
    desk: Client, stranger: User, may_look: bool
) -> None:
    WORKER.sign_on()
    User.objects.filter(pk=stranger.pk).update(is_staff=True)
    if may_look:
        stranger.user_permissions.add(Permission.objects.get(codename="view_worker"))
    client = Client()
    client.force_login(User.objects.get(pk=stranger.pk))
    assert client.get(PAGE).status_code == (200 if may_look else 403)
    assert (PAGE in client.get("/admin/").content.decode()) is may_look
    for path in (f"{PAGE}pause/", f"{PAGE}workers/{WORKER.name}/drain/"):
        assert client.get(path).status_code == 403
        assert client.post(path).status_code == 403
    assert not Pause.objects.exists()
    if may_look:
        assert "Pause the queue" not in read(client)
        assert "Drain" not in read(client)


def test_the_front_page_leads_to_failed_builds(turner: Client, order: Order) -> None:
    build = order("exit 1", name="broken")
    runner.run(build.pk)
    page = read(turner, "/admin/")
    assert f"/admin/builds/build/{build.pk}/change/" in page
    assert "/admin/builds/build/?status=failed&amp;ended=day" in page


def test_errors_and_failures_of_ours_are_shown_and_a_users_are_not(
    turner: Client, order: Order
) -> None:
    Incident(process="host:1", logger="here", message="it <b>broke</b>", traceback="T").keep()
    ours, theirs = order("echo 1", name="ours"), order("echo 2", name="theirs")
    now = timezone.now()
    for build, fault in ((ours, "service"), (theirs, "user")):
        stand(
            Build.objects.filter(pk=build.pk),
            "failed",
            ended_at=now,
            failure_fault=fault,
            failure_text=f"{fault} fault",
        )
    page = read(turner)
    assert "it &lt;b&gt;broke&lt;/b&gt;" in page
    assert "service fault" in page
    assert "user fault" not in page


def test_the_newest_errors_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.models.incidents.KEPT", 3)
    for n in range(5):
        Incident(process="host:1", logger="here", message=f"{n}\0" + "x" * 5000).keep()
    kept = Incident.objects.order_by("pk").values_list("message", flat=True)
    assert [each[0] for each in kept] == ["2", "3", "4"]
    assert max(map(len, kept)) <= 2000
    assert KEPT == 500


def test_the_day_is_counted_by_hours_and_people_s_words(order: Order) -> None:
    now = timezone.now()
    ends = [("succeeded", 10), ("succeeded", 30), ("failed", 5), ("lost", 5), ("cancelled", 1)]
    for status, seconds in ends:
        build = Build.objects.filter(pk=order("echo hello").pk)
        stand(build, status, started_at=now - timedelta(seconds=seconds), ended_at=now)
    old = now - timedelta(days=2)
    stand(Build.objects.filter(pk=order("echo hello").pk), "failed", ended_at=old)
    day = statistics.last_day()
    assert (day.succeeded, day.failed, day.cancelled) == (2, 2, 1)
    assert day.success_rate == 0.5
    assert day.typical == pytest.approx(20)
    assert day.hours[-1].ended == 5
    assert day.hours[-1].took == pytest.approx(20)
    assert len(day.hours) == 25


def test_a_day_without_builds_has_no_rate_and_no_durations(turner: Client) -> None:
    day = statistics.last_day()
    assert (day.success_rate, day.typical) == (None, None)
    assert "none yet" in read(turner)


class Caches(list[CacheInfo]):
    """A helper that knows these."""

    def caches(self) -> list[CacheInfo]:
        return self


def test_disk_is_measured_in_parts_and_shown_against_the_budget(
    turner: Client, settings: Any, deployment: Any, tmp_path: Any
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "one").write_bytes(b"x" * 1_000_000)
    (tmp_path / "files" / "same").hardlink_to(tmp_path / "files" / "one")
    helper = Caches(
        CacheInfo(owner=uuid4(), bytes=each, used_at=0.0, in_use=False) for each in (3_000, 4_000)
    )
    found = measure(replace(deployment, disk_budget_bytes=500_000), helper)  # type: ignore[arg-type]
    parts: Any = found["parts"]
    assert 1_000_000 <= parts["files"] < 1_100_000
    assert parts["engine"] == 0
    assert parts["database"] > 0
    assert parts["caches"] == 7_000
    WORKER.sign_on()
    Worker.objects.update(machine=found)
    page = read(turner)
    assert "over the budget" in page
    assert "files 9" in page


def test_the_page_takes_few_queries_however_much_there_is(
    turner: Client, order: Order, django_assert_max_num_queries: Any
) -> None:
    WORKER.sign_on()
    for n in range(10):
        order(f"echo {n}")
    now = timezone.now()
    stand(Build.objects.all(), "failed", ended_at=now, failure_fault="service")
    for _ in range(3):
        ThisWorker().sign_on()
    read(turner)
    with django_assert_max_num_queries(20):
        read(turner)


def test_a_part_that_does_not_answer_in_time_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()

    def slow() -> None:
        go.wait(10)
        raise RuntimeError("no")

    monkeypatch.setattr(health, "CHECKS", {"fast": lambda: None, "slow": slow})
    checkup = Checkup()
    assert checkup.look(0.2) == {"fast": "ok", "slow": ASKED}
    go.set()
    assert checkup.look(5) == {"fast": "ok", "slow": "RuntimeError: no"}
