"""Both pages as Django renders them: who sees what, who may do what, without a script."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from builds.lifecycle import request_cancel
from builds.models import Build
from builds.status import Status
from common.humanize import duration
from images import catalog, quota
from images.models import Image
from tests.images.conftest import Send, built, seated, text

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("uncollected")]


def test_the_list_has_ones_own_and_public_images(mine: Client, theirs: Client, send: Send) -> None:
    send(name="hidden")
    send(name="shown", public="true")
    assert "owner/hidden:1.0" in text(mine.get("/"))
    for other in (theirs, Client()):
        listed = text(other.get("/"))
        assert "owner/shown:1.0" in listed
        assert "owner/hidden" not in listed


def test_whoever_is_signed_out_is_led_to_the_sign_in(operator: User, send: Send) -> None:
    client = Client()
    assert 'href="/sign-in?next=/"' in text(client.get("/"))
    values = {"username": "operator", "password": "operates-everything", "next": "/?name=x"}
    assert "Wrong name or password" in text(client.post("/sign-in", {**values, "password": "no"}))
    answer = client.post("/sign-in", values)
    assert (answer.status_code, answer["Location"]) == (302, "/?name=x")
    assert "Sign out" in text(client.get("/"))
    client.post("/sign-out")
    assert "Sign out" not in text(client.get("/"))


def test_who_signs_in_is_led_nowhere_else(operator: User) -> None:
    values = {"username": "operator", "password": "operates-everything"}
    answer = Client().post("/sign-in", {**values, "next": "https://evil.example/"})
    assert answer["Location"] == "/"


def test_the_list_is_narrowed_by_name_status_and_owner(mine: Client, send: Send) -> None:
    send(name="first", public="true")
    send(name="second")
    request_cancel(Build.objects.get(label="owner/second:1.0"))
    for query, names in {
        "name=fir": {"first"},
        "status=cancelled": {"second"},
        "whose=mine": {"first", "second"},
        "whose=public": {"first"},
        "status=nonsense&page=nonsense": {"first", "second"},
        "name=none": set(),
    }.items():
        listed = text(mine.get(f"/?{query}"))
        assert {name for name in ("first", "second") if f"owner/{name}:1.0" in listed} == names


def test_nothing_yet_is_a_line_to_copy(theirs: Client) -> None:
    listed = text(theirs.get("/"))
    assert "Send the first image" in listed
    assert 'href="/new">New image</a>' in listed


@pytest.mark.parametrize("few", [0, 4])
def test_a_list_costs_the_same_for_one_image_and_for_many(
    mine: Client,
    send: Send,
    django_assert_max_num_queries: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    few: int,
) -> None:
    monkeypatch.setattr("database.bounded_counts.FEW", few)
    for number in range(4):
        send(name=f"app-{number}")
    with django_assert_max_num_queries(15):
        assert text(mine.get("/")).count("in the queue. ") == 4


def test_the_queue_is_told_by_place(mine: Client, send: Send) -> None:
    for number in range(3):
        send(name=f"app-{number}")
    listed = text(mine.get("/"))
    places = ("next", "position 2", "position 3")
    assert all(f"{place} in the queue" in listed for place in places)


def test_an_image_is_shown_with_all_there_is_to_know(mine: Client, send: Send) -> None:
    image = built(send(public="true", readme="Read <b>me</b>"))
    page = text(mine.get(f"/i/{image.pk}"))
    assert f"docker pull {image.repository}" not in page
    assert f"/{image.repository}:1.0</code>" in page
    assert image.build.digest[7:19] in page
    assert "succeeded" in page
    readme = text(mine.get(f"/i/{image.pk}?tab=readme"))
    assert "<p>Read me</p>" in readme


def test_a_failure_is_told_in_one_sentence(mine: Client, send: Send) -> None:
    image = built(send(dockerfile="FROM scratch\nRUN scripted: exit 3\n"))
    page = text(mine.get(f"/i/{image.pk}"))
    assert "The build failed:</strong> RUN failed with exit code 3." in page


def test_missing_and_forbidden_look_alike(theirs: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    hidden = theirs.get(f"/i/{image_id}")
    missing = theirs.get("/i/00000000-0000-0000-0000-000000000000")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert "Not found" in text(hidden)
    assert theirs.get("/i/no-such-name").status_code == 404
    assert theirs.get("/i/owner/my-app:1.0").status_code == 404


def test_an_image_is_found_by_its_name(mine: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    for ref in ("my-app", "owner/my-app:1.0"):
        assert mine.get(f"/i/{ref}")["Location"] == f"/i/{image_id}"


def test_the_owner_cancels_rebuilds_and_deletes(mine: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    build = Build.objects.get(image_id=image_id)
    assert mine.post(f"/i/{image_id}/cancel")["Location"] == f"/i/{image_id}"
    build.refresh_from_db()
    assert build.state is Status.CANCELLED
    mine.post(f"/i/{image_id}/rebuild")
    assert Build.objects.filter(image_id=image_id).count() == 2
    assert "A build is under way" in text(mine.post(f"/i/{image_id}/rebuild", follow=True))
    assert mine.post(f"/i/{image_id}/delete")["Location"] == "/"
    assert not Image.objects.exists()
    assert mine.post(f"/i/{image_id}/delete").status_code == 404


@pytest.mark.parametrize("verb", ["cancel", "rebuild", "delete"])
def test_a_stranger_has_no_actions(theirs: Client, mine: Client, send: Send, verb: str) -> None:
    image_id = send(public="true").json()["image_id"]
    assert (
        "<form"
        not in text(theirs.get(f"/i/{image_id}")).partition("<main>")[2].partition('id="log"')[0]
    )
    assert theirs.post(f"/i/{image_id}/{verb}").status_code == 404
    assert mine.get(f"/i/{image_id}/{verb}").status_code == 405
    assert Build.objects.get(image_id=image_id).state is Status.QUEUED


@pytest.mark.parametrize("verb", ["cancel", "rebuild", "delete"])
def test_an_action_after_the_session_ended_leads_to_sign_in_and_back_to_the_page(
    operator: User, send: Send, verb: str
) -> None:
    image_id = send(public="true").json()["image_id"]
    client = Client()
    answer = client.post(f"/i/{image_id}/{verb}", follow=True)
    assert answer.redirect_chain == [(f"/sign-in?next=%2Fi%2F{image_id}", 302)]
    assert "Your session has ended. Nothing was changed" in text(answer)
    assert Build.objects.get(image_id=image_id).state is Status.QUEUED
    values = {"username": "operator", "password": "operates-everything", "next": f"/i/{image_id}"}
    assert client.post("/sign-in", values)["Location"] == f"/i/{image_id}"


BROWSER = {"HTTP_ACCEPT": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_errors_are_pages_for_browsers_and_json_for_other_clients(mine: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    token_checked = Client(enforce_csrf_checks=True)
    for client, method, path, status, words, detail in (
        (mine, "get", "/nothing/here", 404, "This page does not exist", "Not Found"),
        (mine, "get", f"/i/{image_id}/cancel", 405, "only takes actions", "Method Not Allowed"),
        (mine, "get", "/sign-out", 405, "only takes actions", "Method Not Allowed"),
        (token_checked, "post", "/sign-in", 403, "You signed in or out after", "Forbidden"),
    ):
        page = getattr(client, method)(path, **BROWSER)
        assert (page.status_code, page["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert words in text(page), path
        assert "Slipway</a>" in text(page), path
        for headers in ({}, {"HTTP_ACCEPT": "*/*"}, {**BROWSER, "HTTP_AUTHORIZATION": "x"}):
            answer = getattr(client, method)(path, **headers)
            assert (answer.status_code, answer.json()["detail"]) == (status, detail), path
    # Answers of the REST API are JSON whatever is accepted.
    assert mine.get("/images/none:1", **BROWSER)["Content-Type"] == "application/json"


def test_a_forbidden_admin_page_is_a_page(operator: User, send: Send) -> None:
    client = seated(operator)
    operator.groups.clear()
    User.objects.filter(pk=operator.pk).update(is_superuser=False)
    page = client.get("/admin/system/", **BROWSER)
    assert (page.status_code, page["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert "Your account has no permission" in text(page)


def test_a_crash_is_a_page_with_the_id_of_the_log_entry(
    mine: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise ValueError("planted")

    monkeypatch.setattr("images.pages.image_list._filtered", crash)
    mine.raise_request_exception = False
    page = mine.get("/", **BROWSER)
    assert page.status_code == 500
    assert f"<code>{page.reason_phrase}</code>" in text(page)
    assert "planted" not in text(page)
    assert mine.get("/").json()["detail"].startswith("Internal Server Error ")


def test_an_error_leads_back_only_to_pages_of_ours(mine: Client) -> None:
    for referer, back in (
        ("http://testserver/i/some?attempt=2", 'href="/i/some?attempt=2"'),
        ("https://evil.example/i/some", None),
        ("http://testserver/nothing", None),
        ("", None),
    ):
        page = text(mine.get("/nothing", HTTP_REFERER=referer, **BROWSER))
        assert ("Back to the page" in page) == bool(back)
        assert back is None or back in page
        assert "evil.example" not in page


def test_a_wrong_password_keeps_the_name(operator: User) -> None:
    values = {"username": "operator", "password": "no"}
    page = text(Client().post("/sign-in", values))
    assert 'value="operator"' in page
    assert page.count("autofocus") == 1
    assert 'autocomplete="current-password" required autofocus' in page


def test_the_icon_is_where_browsers_look_for_it(mine: Client) -> None:
    answer = mine.get("/favicon.ico")
    assert (answer.status_code, answer["Location"]) == (302, "/static/pages/favicon.ico")


def test_the_raw_log_names_its_file_and_takes_attempts(mine: Client, send: Send) -> None:
    image = built(send(dockerfile="FROM scratch\nRUN scripted: echo one ;; exit 3\n"))
    mine.post(f"/i/{image.pk}/rebuild")
    for query, number in (("", 2), ("?attempt=1", 1), ("?attempt=99", 2)):
        answer = mine.get(f"/i/{image.pk}/log{query}")
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        name = f'inline; filename="owner-my-app-1.0-attempt-{number}.log"'
        assert answer["Content-Disposition"] == name


def test_a_stranger_reads_no_raw_log(theirs: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    assert theirs.get(f"/i/{image_id}/log").status_code == 404
    assert Client().get(f"/i/{image_id}/log").status_code == 404


def test_times_below_a_second_have_tenths(mine: Client, send: Send) -> None:
    assert [duration(each) for each in (0, 0.04, 0.47, 0.99, 1, 61.5)] == [
        *("0.0 s", "0.0 s", "0.4 s", "0.9 s", "0:01", "1:01")
    ]
    image = built(send())
    started = image.build.started_at
    assert started
    Build.objects.update(ended_at=started + timedelta(seconds=0.42))
    assert "<dd>0.4 s</dd>" in text(mine.get(f"/i/{image.pk}"))


def test_an_action_needs_the_token_of_the_page(owner: User, send: Send) -> None:
    image_id = send().json()["image_id"]
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.post(f"/i/{image_id}/delete").status_code == 403
    assert Image.objects.exists()


def test_a_quota_that_is_used_up_is_told(
    mine: Client, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = send().json()["image_id"]
    mine.post(f"/i/{image_id}/cancel")

    def refuse(_: User) -> None:
        raise quota.QuotaExceeded(24, 61)

    monkeypatch.setattr(catalog, "check_quota", refuse)
    page = text(mine.post(f"/i/{image_id}/rebuild", follow=True))
    assert "The next may start in 2 min." in page


def test_nothing_on_a_page_needs_an_inline_permission(mine: Client, send: Send) -> None:
    image = built(send(readme="r"))
    for path in ("/", f"/i/{image.pk}", f"/i/{image.pk}?tab=readme", "/sign-in", "/i/none"):
        answer = mine.get(path)
        policy = answer["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        page = answer.content.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert page.count("<script") == page.count("<script ")
        assert " on" not in {found[:3] for found in page.split('"')[::2] if found.endswith("on=")}


def test_a_lost_attempts_page_and_an_unknown_attempts(mine: Client, send: Send) -> None:
    image = built(send(dockerfile="FROM scratch\nRUN scripted: exit 3\n"))
    mine.post(f"/i/{image.pk}/rebuild")
    assert 'data-attempt="2"' in text(mine.get(f"/i/{image.pk}"))
    assert 'data-attempt="1"' in text(mine.get(f"/i/{image.pk}?attempt=1"))
    for odd in ("99", "x", "-1", "9" * 30):
        assert 'data-attempt="2"' in text(mine.get(f"/i/{image.pk}?attempt={odd}"))
