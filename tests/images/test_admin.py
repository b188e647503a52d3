"""Images in the admin, for an operator who is no superuser."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from builds.models import Build
from builds.status import Status, state_word
from images import catalog, naming
from images.models import Image
from operators.models import BulkAction
from tests.conftest import script
from tests.images.conftest import Send, built, client_of

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/images/image/"


def made(owner: User, count: int, status: Status = Status.QUEUED) -> None:
    """Images with a build each, past everything that takes long."""
    for number in range(count):
        build = Build.objects.create(
            image_id=uuid4(),
            owner_id=owner.pk,
            label=f"{owner.username}/made:{number}",
            number=1,
            status=status,
            dockerfile="",
            context_sha256="",
            context_bytes=0,
        )
        Image.objects.create(
            id=build.image_id,
            reference_id=uuid4(),
            owner=owner,
            name="made",
            tag=str(number),
            current=build,
            state=state_word(status),
        )


def names(client: Client, **query: str) -> set[str]:
    """The tags that the list shows."""
    page = client.get(LIST, query)
    assert page.status_code == 200
    return {f"{image.name}:{image.tag}" for image in page.context["cl"].result_list}


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


# The list


def test_an_operator_finds_images_by_all_they_are_called(
    counter: Client, send: Send, owner: User
) -> None:
    front = built(send(name="web-Front", tag="V1"))
    send(name="database")
    digest = front.build.digest
    capitals = naming.reference_id(owner.username, "web-Front", "V1")
    for words in (
        *("web", f"{owner.username} front", "V1 web", "owner/web-front:v1", "owner/web"),
        *(str(front.pk), front.pk.hex, str(front.pk).upper(), f"urn:uuid:{front.pk}"),
        *(str(capitals), str(front.build.pk)),
        *(digest, digest[:19], digest.removeprefix("sha256:"), f"docker pull x/y@{digest}"),
    ):
        assert names(counter, q=words) == {"web-Front:V1"}, words
    for words in ("nothing-like-it", str(uuid4()), "sha256:0123456789", "stranger/web-front:v1"):
        assert names(counter, q=words) == set(), words
    assert names(counter, q=f"{owner.username}") == {"web-Front:V1", "database:1.0"}


def test_the_list_is_narrowed_by_status_owner_visibility_age_and_size(
    counter: Client, send: Send, owner: User
) -> None:
    built(send(tag="good", public="true"))
    built(send(tag="bad", dockerfile=script("exit 1")))
    send(tag="waits")
    Image.objects.filter(tag="bad").update(created_at=timezone.now() - timedelta(days=40))
    for query, found in (
        ({"status": "succeeded"}, {"good"}),
        ({"status": "failed"}, {"bad"}),
        ({"status": "queued"}, {"waits"}),
        ({"status": "cancelled"}, set()),
        ({"public__exact": "1"}, {"good"}),
        ({"owner": "OWNER"}, {"good", "bad", "waits"}),
        ({"owner": "own"}, set()),
        ({"age": "day"}, {"good", "waits"}),
        ({"age": "older"}, {"bad"}),
        ({"size": "small"}, {"good"}),
        ({"size": "huge"}, set()),
        ({"size": "none"}, {"bad", "waits"}),
        ({"status": "no-such", "age": "no-such", "size": "no-such"}, {"good", "bad", "waits"}),
    ):
        assert names(counter, **query) == {f"my-app:{tag}" for tag in found}, query


def test_words_are_found_in_names_tags_and_owners(counter: Client, send: Send) -> None:
    send(name="payments-api", tag="v1.2")
    assert send(name="find-it", tag="v9.0").status_code == 202
    for words, found in {
        "ments": {"payments-api:v1.2"},
        "PAY v1.2 owner": {"payments-api:v1.2"},
        "pa v1": {"payments-api:v1.2"},  # few letters: only where something begins
        "ts": set(),
        "owner": {"payments-api:v1.2", "find-it:v9.0"},
        "- -": {"payments-api:v1.2", "find-it:v9.0"},  # nothing that could be meant
        "stranger": set(),
    }.items():
        assert names(counter, q=words) == found, words


def test_dates_lead_from_years_to_days_without_reading_the_table(
    counter: Client, owner: User
) -> None:
    made(owner, 2)
    Image.objects.filter(tag="0").update(created_at="2024-02-28T12:00:00Z")
    Image.objects.filter(tag="1").update(created_at="2026-01-02T12:00:00Z")
    found = {}
    for query in ("", "created_at__year=2024", "created_at__year=2024&created_at__month=2"):
        page = counter.get(f"{LIST}?{query}")
        found[query] = [each["title"] for each in page.context["cl"].dates["choices"]]
    assert list(found.values()) == [
        ["2024", "2025", "2026"],
        [f"{month} 2024" for month in MONTHS],
        ["February 28", "February 29"],
    ]
    day = {"created_at__year": "2024", "created_at__month": "2", "created_at__day": "28"}
    assert names(counter, **day) == {"made:0"}
    with CaptureQueriesContext(connection) as queries:
        counter.get(LIST)
    assert not [each for each in queries if "DISTINCT" in each["sql"].upper()]


MONTHS = [
    *("February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
]


@pytest.mark.parametrize("few", [0, 30])
@pytest.mark.parametrize("count", [2, 30])
def test_the_list_takes_as_many_queries_for_many_rows_as_for_few(
    counter: Client,
    owner: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    few: int,
) -> None:
    monkeypatch.setattr("database.bounded_counts.FEW", few)
    made(owner, count)
    counter.get(LIST)
    with django_assert_max_num_queries(11):
        page = counter.get(LIST)
    assert len(page.context["cl"].result_list) == count


def test_the_detail_takes_as_many_queries_for_many_attempts_as_for_few(
    counter: Client, send: Send, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    image = built(send())
    for _ in range(6):
        catalog.rebuild(image)
        catalog.cancel(image)
    with django_assert_max_num_queries(12):
        page = counter.get(f"{LIST}{image.pk}/change/")
    assert len(page.context["attempts"]) == 7


def test_what_it_may_not_do_is_not_offered_to_who_only_looks(
    stranger: User, uncollected: None, send: Send
) -> None:
    image_id = send().json()["image_id"]
    stranger.is_staff = True
    stranger.save()
    stranger.user_permissions.add(Permission.objects.get(codename="view_image"))
    browser = Client()
    browser.force_login(stranger)
    page = browser.get(f"{LIST}{image_id}/change/")
    assert page.context["buttons"] == []
    assert browser.get(LIST).context["action_form"] is None
    for verb in ("rebuild", "cancel", "protect", "unprotect", "publish", "hide", "delete"):
        assert browser.get(f"{LIST}{image_id}/{verb}/").status_code == 403
        assert browser.post(f"{LIST}{image_id}/{verb}/").status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [image_id]})
    assert not BulkAction.objects.exists()
    action = BulkAction.objects.create(subject="images.image", verb="delete", by=stranger)
    assert browser.get(f"{LIST}bulk/{action.pk}/").status_code == 403


def test_nobody_else_sees_any_of_it(stranger: User, uncollected: None, send: Send) -> None:
    image_id = send().json()["image_id"]
    for staff in (False, True):
        stranger.is_staff = staff
        stranger.save()
        browser = Client()
        browser.force_login(stranger)
        for path in ("", f"{image_id}/change/", f"{image_id}/delete/", f"bulk/{uuid4()}/"):
            answer = browser.get(f"{LIST}{path}")
            refused = 403 if staff else 302
            assert answer.status_code in (refused, 404), path
            assert b"my-app" not in answer.content
        assert b"my-app" not in browser.get("/admin/").content


def test_an_operator_reads_private_logs_by_session_and_not_by_key(
    counter: Client, keeper: User, stranger: User, send: Send
) -> None:
    image = built(send())
    for path in ("logs", "logs/lines", "logs/search?q=hello"):
        assert counter.get(f"/images/{image.pk}/{path}").status_code == 200, path
        assert client_of(keeper).get(f"/images/{image.pk}/{path}").status_code == 404, path
        other = Client()
        other.force_login(stranger)
        assert other.get(f"/images/{image.pk}/{path}").status_code == 404, path


def test_the_page_of_one_shows_attempts_times_and_how_to_pull(counter: Client, send: Send) -> None:
    image = built(send())
    page = counter.get(f"{LIST}{image.pk}/change/")
    text = page.content.decode()
    assert "docker pull " in text
    assert image.build.digest[7:19] in text
    assert [each.text.split(" by ")[0] for each in page.context["timeline"]] == [
        "Queued",
        "Started",
        "Built; pushing",
        "Succeeded",
    ]
    assert {each["label"] for each in page.context["buttons"]} == {
        *("Rebuild", "Protect", "Make public", "Delete")
    }
    assert f'data-image="{image.pk}"' in text


# What operators do


def test_each_verb_says_what_it_does_does_it_and_is_written_down(
    counter: Client, keeper: User, send: Send
) -> None:
    image = built(send(public="false"))
    page = f"{LIST}{image.pk}"
    for verb, words, expected in (
        ("publish", "can be seen and pulled by anybody", {"public": True}),
        ("hide", "by their owners only", {"public": False}),
        ("protect", "cannot be deleted", {"protected": True}),
        ("unprotect", "can be deleted by their owners", {"protected": False}),
        ("rebuild", "1 new attempt", {"current__number": 2}),
        ("cancel", "1 build in the queue will end", {"current__status": "cancelled"}),
    ):
        asked = counter.get(f"{page}/{verb}/")
        assert words in asked.content.decode(), verb
        answer = counter.post(f"{page}/{verb}/", {"seen": asked.context["seen"]}, follow=True)
        assert answer.redirect_chain[-1][0] == f"{page}/change/", verb
        assert Image.objects.filter(pk=image.pk, **expected).exists(), (verb, said(answer))
        entry = LogEntry.objects.latest("id")
        assert (entry.user_id, entry.object_id) == (keeper.pk, str(image.pk))
    shown = counter.get(f"{page}/delete/").content.decode()
    assert "the tag owner/my-app:1.0 in the registry" in shown
    assert "2 attempts with their logs" in shown
    assert "contexts" in shown
    answer = counter.post(f"{page}/delete/", follow=True)
    assert answer.redirect_chain[-1][0] == LIST
    assert not Image.objects.exists()
    assert LogEntry.objects.latest("id").action_flag == DELETION
    assert LogEntry.objects.count() == 7


def test_looking_at_what_would_go_changes_nothing(counter: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    for verb in ("delete", "cancel", "publish", "protect"):
        counter.get(f"{LIST}{image_id}/{verb}/")
    image = Image.objects.with_build().get()
    assert (image.public, image.protected) == (False, False)
    assert image.build.state is Status.QUEUED
    assert not LogEntry.objects.exists()


def test_a_protected_image_is_not_deleted_from_the_admin(counter: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    Image.objects.update(protected=True)
    answer = counter.post(f"{LIST}{image_id}/delete/", follow=True)
    assert "protected" in said(answer)[0]
    chosen = {"action": "delete_selected", "_selected_action": [image_id]}
    asked = counter.post(LIST, chosen, follow=True)
    assert "1 image is protected and will not be deleted" in asked.content.decode()
    done = counter.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    assert "take the protection off first" in done.content.decode()
    assert Image.objects.exists()


def test_deleting_many_says_what_goes_and_what_is_protected(counter: Client, send: Send) -> None:
    kept, going = built(send(name="kept")), built(send(name="going"))
    Image.objects.filter(pk=kept.pk).update(protected=True)
    chosen = {"action": "delete_selected", "_selected_action": [str(kept.pk), str(going.pk)]}
    asked = counter.post(LIST, chosen, follow=True)
    page = asked.content.decode()
    assert "1 tag in the registry" in page
    assert "1 attempt with its log" in page
    assert "1 image is protected and will not be deleted" in page
    assert "removes for good:" not in page
    done = counter.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    assert "1 of 2 images deleted." in done.content.decode()
    assert "1 left as it was" in done.content.decode()


def test_nothing_is_changed_past_the_catalog(counter: Client, desk: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    for browser in (counter, desk):
        answer = browser.post(f"{LIST}{image_id}/change/", {"public": "on"})
        assert answer.status_code == 403
    assert not Image.objects.get().public


def test_an_operators_rebuild_is_not_charged_to_the_owner(
    counter: Client, send: Send, owner: User
) -> None:
    image = built(send())
    User.objects.filter(pk=owner.pk).update(daily_build_limit=1)
    answer = counter.post(f"{LIST}{image.pk}/rebuild/", follow=True)
    assert "Asked for attempt 2" in said(answer)[0]
    charged = Build.objects.charged_since(owner.pk, timezone.now() - timedelta(days=1))
    assert charged.count() == 1


@pytest.mark.parametrize(
    ("verb", "prepare", "message"),
    [
        ("cancel", "end", "the last one has ended"),
        ("rebuild", "start", "A build is under way"),
        ("rebuild", "forget", "no longer stored"),
        ("delete", "protect", "take the protection off first"),
        ("delete", "remove", "somebody deleted it before"),
        ("rebuild", "remove", "somebody deleted it before"),
        ("delete", "again", "It is another one by now"),
    ],
)
def test_who_comes_too_late_is_told_so(
    counter: Client, send: Send, verb: str, prepare: str, message: str
) -> None:
    image = built(send())
    asked = counter.get(f"{LIST}{image.pk}/{verb}/")
    if prepare == "start":
        catalog.rebuild(image)
    elif prepare == "forget":
        Build.objects.update(context_key="")
    elif prepare == "protect":
        Image.objects.update(protected=True)
    elif prepare in ("remove", "again"):
        catalog.delete(image)
    if prepare == "again":
        send()
    before = Image.objects.count()
    answer = counter.post(f"{LIST}{image.pk}/{verb}/", {"seen": asked.context["seen"]}, follow=True)
    assert answer.status_code == 200
    assert message in " ".join(said(answer))
    assert Image.objects.count() == before
    assert not LogEntry.objects.exists()


def test_an_action_that_is_not_there_is_not_found(counter: Client) -> None:
    assert counter.get(f"{LIST}bulk/{UUID(int=0)}/").status_code == 404
