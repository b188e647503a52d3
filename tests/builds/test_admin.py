"""Builds in the admin, for an operator who is no superuser: queue, history, failures."""

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from builds import lifecycle, runner
from builds.models import Build, LogChunk, Pause, Worker
from builds.status import Status
from tests.conftest import Order, stand
from tests.together import at_once

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/builds/build/"


def worker(name: str = "host:1:aa", threads: int = 1, **values: Any) -> Worker:
    now = timezone.now()
    return Worker.objects.create(
        name=name, host="host", pid=1, threads=threads, version="1", started_at=now, seen_at=now
    )


def shown(client: Client, **query: str) -> list[str]:
    page = client.get(LIST, query)
    assert page.status_code == 200
    return [f"{build}" for build in page.context["cl"].result_list]


def said(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def started(build: Build, by: str = "host:1:aa") -> Build:
    now = timezone.now()
    Build.objects.filter(pk=build.pk).move(
        Status.BUILDING, worker=by, fence=1, started_at=now, lease_until=now + timedelta(seconds=20)
    )
    return Build.objects.get(pk=build.pk)


def failed(build: Build, code: str = "step", fault: str = "user", **values: Any) -> Build:
    now = timezone.now()
    stand(
        Build.objects.filter(pk=build.pk),
        Status.FAILED,
        ended_at=now,
        failure_code=code,
        failure_fault=fault,
        failure_text=f"why {code}",
        **values,
    )
    return Build.objects.get(pk=build.pk)


# The list


def test_builds_are_found_by_label_id_image_and_digest(counter: Client, order: Order) -> None:
    one, other = order("echo a", name="one"), order("echo b", name="other")
    Build.objects.filter(pk=one.pk).update(digest="sha256:abcdef")
    for words in ("owner/one", "one:1", str(one.pk), one.image_id.hex, "sha256:abc"):
        assert shown(counter, q=words) == ["owner/one:1 #1"], words
    assert shown(counter, q="on ow - /") == ["owner/one:1 #1"]  # where words begin
    assert shown(counter, q="ne") == shown(counter, q=str(uuid4())) == []
    assert other.label in " ".join(shown(counter))


def test_builds_are_narrowed_by_all_that_went_wrong(counter: Client, order: Order) -> None:
    failed(order(name="mine"))
    failed(order(name="yours"), code="push", fault="service")
    failed(order(name="old"), queued_at=timezone.now() - timedelta(days=9))
    Build.objects.filter(label="owner/old:1").update(ended_at=timezone.now() - timedelta(days=8))
    started(order(name="runs"))
    for query, found in (
        ({"status": "failed", "ended": "week"}, {"mine", "yours"}),
        ({"fault": "service"}, {"yours"}),
        ({"code": "step", "ended": "day"}, {"mine"}),
        ({"worker": "host:1"}, {"runs"}),
        ({"owner": "Owner", "status": "building"}, {"runs"}),
        ({"owner": "nobody"}, set()),
    ):
        assert {each.split("/")[1].split(":")[0] for each in shown(counter, **query)} == found


@pytest.mark.parametrize("count", [2, 12])
def test_lists_take_as_many_queries_for_many_rows_as_for_few(
    counter: Client, order: Order, count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(count):
        started(order())
        failed(order(), code=uuid4().hex[:6])
        order()
    counter.get(LIST)
    for path in ("", "queue/", "failures/"):
        with django_assert_max_num_queries(19):
            assert counter.get(f"{LIST}{path}").status_code == 200
    with django_assert_max_num_queries(21):
        assert counter.get(f"{LIST}{Build.objects.waiting()[0].pk}/change/").status_code == 200


# Why it waits, and who has it


def test_a_build_that_waits_says_why(counter: Client, order: Order) -> None:
    first, second = order(name="first"), order(name="second")

    def why(build: Build) -> str:
        page = counter.get(f"{LIST}{build.pk}/change/")
        return " ".join(page.context["why"])

    assert why(first) == "Next in the queue. No worker is running. Start one."
    hand = worker()
    free = "A worker is free: it starts within seconds."
    assert why(first) == f"Next in the queue, starts within 1 min. {free}"
    busy = "The only build slot is busy, or others are first."
    assert why(second) == f"Position 2 in the queue. {busy}"
    started(first)
    assert why(second) == f"Next in the queue. {busy}"
    lifecycle.request_drain(hand.name)
    ends = "Every worker is about to stop and takes no more builds. All of them drain."
    assert why(second) == f"Next in the queue. {ends}"
    lifecycle.request_pause(by="keeper")
    assert "keeper paused it" in why(second)
    page = counter.get(f"{LIST}queue/").content.decode()
    assert "Paused by keeper" in page
    assert Pause.objects.exists()


def test_a_build_that_runs_says_where_how_far_and_how_long_still(
    counter: Client, order: Order
) -> None:
    worker()
    build = started(order(name="runs"))
    Build.objects.filter(pk=build.pk).update(step=2, steps=5, restarts=1)
    for path in ("queue/", f"{build.pk}/change/"):
        page = counter.get(f"{LIST}{path}").content.decode()
        assert "2 of 5" in page, path
        assert "host:1:aa" in page, path
    page = counter.get(f"{LIST}{build.pk}/change/").content.decode()
    assert "left, renewed while its worker lives" in page
    assert "Lost workers" in page
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    assert "(silent)" in counter.get(f"{LIST}{build.pk}/change/").content.decode()


def test_the_options_of_a_build_are_shown(counter: Client, order: Order) -> None:
    build = order(
        build_args={"items": "<b>1</b>"},
        target="tests",
        no_cache=True,
        pull=True,
        labels={"items": "blue", "com.example.team": "green"},
    )
    page = counter.get(f"{LIST}{build.pk}/change/").content.decode()
    for told in (
        "<dt>Target</dt><dd><code>tests</code></dd>",
        "<dt>Cache</dt><dd>not used</dd>",
        "<dt>Bases</dt><dd>pulled again</dd>",
        "<dt>items</dt><dd><code>&lt;b&gt;1&lt;/b&gt;</code></dd>",
        "<dt>items</dt><dd><code>blue</code></dd>",
        "<dt>com.example.team</dt><dd><code>green</code></dd>",
    ):
        assert told in page
    plain = counter.get(f"{LIST}{order().pk}/change/").content.decode()
    for untold in ("<dt>Target</dt>", "<dt>Cache</dt>", "<dt>Bases</dt>", "<h2>Labels</h2>"):
        assert untold not in plain


def test_the_log_of_a_deleted_image_is_told_to_be_gone(counter: Client, order: Order) -> None:
    build = failed(order(name="gone"))
    assert 'id="scroller"' in counter.get(f"{LIST}{build.pk}/change/").content.decode()
    lifecycle.request_removal(build.image_id)
    page = counter.get(f"{LIST}{build.pk}/change/").content.decode()
    assert "Its log went with the image" in page
    assert 'id="scroller"' not in page
    assert not LogChunk.objects.exists()


# Why some failed


def test_failures_are_grouped_by_code_and_lead_to_their_builds(
    counter: Client, order: Order
) -> None:
    for _ in range(3):
        failed(order())
    failed(order(), code="push", fault="service")
    failed(order(), code="disk", fault="service")
    Build.objects.filter(failure_code="disk").update(ended_at=timezone.now() - timedelta(days=2))
    page = counter.get(f"{LIST}failures/")
    found = [
        (row["failure_code"], row["failure_fault"], row["builds"]) for row in page.context["rows"]
    ]
    assert found == [("step", "user", 3), ("push", "service", 1)]
    text = page.content.decode()
    assert "4 of 4 ended builds failed; 1 by Slipway" in text
    link = f"{LIST}?status=failed&amp;code=step&amp;fault=user&amp;ended=day"
    assert link in text
    assert len(shown(counter, status="failed", code="step", fault="user", ended="day")) == 3
    week = counter.get(f"{LIST}failures/", {"ended": "week"}).context["rows"]
    assert {row["failure_code"] for row in week} == {"step", "push", "disk"}


# What operators do


def test_an_operator_moves_cancels_and_retries_and_it_is_written_down(
    counter: Client, keeper: User, order: Order
) -> None:
    order(name="first")
    build = order(name="second")
    page = f"{LIST}{build.pk}"
    assert "taken next" in counter.get(f"{page}/front/").content.decode()
    counter.post(f"{page}/front/")
    assert Build.objects.waiting()[0].pk == build.pk
    counter.post(f"{page}/cancel/")
    assert Build.objects.get(pk=build.pk).status == Status.CANCELLED
    answer = counter.post(f"{page}/retry/", follow=True)
    assert "Asked for attempt 2" in said(answer)
    again = Build.objects.get(image_id=build.image_id, number=2)
    assert (again.state, again.free) == (Status.QUEUED, True)
    entries = LogEntry.objects.order_by("id").values_list("user_id", "object_id")
    assert list(entries) == [(keeper.pk, str(build.pk))] * 3


def test_selected_builds_are_confirmed_and_each_refusal_is_told(
    counter: Client, order: Order
) -> None:
    waits, over = order(name="waits"), failed(order(name="over"))
    chosen = {"action": "cancel", "_selected_action": [waits.pk, over.pk], "index": "0"}
    asked = counter.post(f"{LIST}?status=queued", {**chosen, "select_across": "0"}, follow=True)
    assert asked.context["total"] == 1
    asked = counter.post(LIST, chosen, follow=True)
    assert "Cancel 2 builds?" in asked.content.decode()
    assert Build.objects.get(pk=waits.pk).state is Status.QUEUED
    answer = counter.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    page = answer.content.decode()
    assert "1 of 2 builds cancelled." in page
    assert "There is nothing to cancel: it has ended (failed)." in page
    assert Build.objects.get(pk=waits.pk).state is Status.CANCELLED


def test_builds_moved_to_the_front_together_keep_their_order(counter: Client, order: Order) -> None:
    for number in range(4):
        order(name=f"build-{number}")
    chosen = {"action": "front", "index": "0"}
    ids = Build.objects.filter(label__in=["owner/build-2:1", "owner/build-3:1"])
    chosen |= {"_selected_action": [str(pk) for pk in ids.values_list("pk", flat=True)]}
    asked = counter.post(LIST, chosen, follow=True)
    answer = counter.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    assert "2 builds moved to the front of the queue." in said(answer)
    waiting = [build.label for build in Build.objects.waiting()]
    assert waiting == [f"owner/build-{number}:1" for number in (2, 3, 0, 1)]


@pytest.mark.parametrize(
    ("verb", "state", "message"),
    [
        ("cancel", "ended", "it has ended"),
        ("front", "running", "does not wait"),
        ("retry", "running", "A build is under way"),
        ("retry", "without", "no longer stored"),
        ("retry", "superseded", "A newer attempt"),
        ("retry", "deleted", "its image is deleted"),
    ],
)
def test_who_comes_too_late_is_told_so(
    counter: Client, order: Order, verb: str, state: str, message: str
) -> None:
    build = order(name="late")
    if state == "running":
        started(build)
    else:
        failed(build)
    if state == "without":
        Build.objects.update(context_key="")
    elif state == "superseded":
        lifecycle.request_again(build.image_id)
    elif state == "deleted":
        lifecycle.request_removal(build.image_id)
    before = Build.objects.count()
    answer = counter.post(f"{LIST}{build.pk}/{verb}/", follow=True)
    assert answer.status_code == 200
    assert message in said(answer)
    assert Build.objects.count() == before
    assert not LogEntry.objects.exists()


def test_no_build_of_that_id_is_told_too(counter: Client) -> None:
    assert "It is gone" in said(counter.post(f"{LIST}{uuid4()}/cancel/", follow=True))
    assert counter.post(f"{LIST}bulk/{uuid4()}/", {"confirm": "yes"}).status_code == 404


def test_who_only_looks_changes_nothing(stranger: User, uncollected: None, order: Order) -> None:
    build = order()
    browser = Client()
    browser.force_login(stranger)
    for path in ("", "queue/", "failures/", f"{build.pk}/change/"):
        assert browser.get(f"{LIST}{path}").status_code == 302, path
    stranger.is_staff = True
    stranger.save()
    for path in ("", "queue/", "failures/", f"{build.pk}/change/"):
        assert browser.get(f"{LIST}{path}").status_code == 403, path
    stranger.user_permissions.add(Permission.objects.get(codename="view_build"))
    for path in ("", "queue/", "failures/", f"{build.pk}/change/"):
        page = browser.get(f"{LIST}{path}")
        assert page.status_code == 200, path
        assert b"/cancel/" not in page.content, path
    for verb in ("cancel", "retry", "front"):
        for ask in (browser.get, browser.post):
            assert ask(f"{LIST}{build.pk}/{verb}/").status_code == 403
    browser.post(LIST, {"action": "cancel", "_selected_action": [build.pk], "index": "0"})
    assert Build.objects.get().state is Status.QUEUED


# At the same moment


def test_of_two_simultaneous_retries_one_is_made(order: Order) -> None:
    builds = [failed(order(name=f"twice-{number}")) for number in range(4)]

    def retry(build: Build) -> str:
        try:
            return str(lifecycle.request_retry(build).number)
        except (lifecycle.UnderWay, lifecycle.Superseded) as problem:
            return type(problem).__name__

    for build in builds:
        assert sorted(at_once(retry, build, build)) == ["2", "Superseded"]
        assert Build.objects.filter(image_id=build.image_id).count() == 2


def test_a_retry_during_a_removal_leaves_nothing_that_waits(order: Order) -> None:
    for number in range(4):
        build = failed(order(name=f"going-{number}"))

        def act(remove: bool, build: Build = build) -> None:
            if remove:
                lifecycle.request_removal(build.image_id)
                return
            with suppress(lifecycle.Superseded):
                lifecycle.request_retry(build)

        at_once(act, True, False)
        left = Build.objects.filter(image_id=build.image_id)
        assert not left.filter(status=Status.QUEUED).exists()
        assert not left.filter(discarded_at=None).exists()


def test_a_cancel_that_meets_a_claim_ends_the_build_all_the_same(order: Order) -> None:
    for number in range(4):
        build = order("echo a", name=f"meets-{number}")

        def act(cancel: bool, build: Build = build) -> bool:
            if cancel:
                return lifecycle.request_cancel(build)
            runner.run(build.pk)
            return False

        accepted, _ = at_once(act, True, False)
        ended = Build.objects.get(pk=build.pk)
        assert ended.state is (Status.CANCELLED if accepted else Status.SUCCEEDED)
