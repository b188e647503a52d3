"""Many images at once: each whole or not at all, whoever goes away, and only once."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import OperationalError
from django.test import Client

from accounts.models import User
from builds import runner
from builds.models import Build
from builds.status import Status
from config.worker import tick
from images import catalog
from images.admin.actions import IMAGES
from images.models import Image
from operators import bulk, views
from operators.models import BulkAction, BulkItem
from tests.images.conftest import Send, built
from tests.images.test_admin import LIST, made, said
from tests.together import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def drafted(verb: str, by: User) -> BulkAction:
    images = Image.objects.order_by("created_at", "id")
    return bulk.draft(IMAGES, IMAGES.verbs[verb], images, by=by)


def confirmed(verb: str, by: User) -> BulkAction:
    action = drafted(verb, by)
    bulk.confirm(action)
    return action


def outcome(action: BulkAction) -> dict[str, int]:
    return dict(bulk.counts(action))


def whole(image_id: Any) -> bool:
    """Whether all of an image is there, or none of it: never a half."""
    there = Image.objects.filter(pk=image_id).exists()
    kept = Build.objects.filter(image_id=image_id, discarded_at=None)
    return there == kept.exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.long)])
def test_a_thousand_selected_images_are_deleted_each_with_its_entry(
    counter: Client, owner: User, sent: list[Any], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(views, "AT_ONCE", 0.1 if count < 1_000 else views.AT_ONCE)
    made(owner, count, Status.FAILED)
    ids = [str(pk) for pk in Image.objects.values_list("pk", flat=True)]
    # As many as were on the page when it was opened; some are gone since.
    ids += [str(uuid4()) for _ in range(1_000 - count)]
    chosen = {"action": "delete_selected", "_selected_action": ids, "index": "0"}
    asked = counter.post(LIST, chosen, follow=True)
    assert asked.status_code == 200
    assert f"{count:,} attempts" in asked.content.decode()
    assert Image.objects.count() == count
    address = asked.redirect_chain[-1][0]
    page = counter.post(address, {"confirm": "yes"}, follow=True)
    while BulkAction.objects.get().ended_at is None:
        left = Image.objects.count()
        page = counter.post(address, {"carry-on": "yes"}, follow=True)
        assert Image.objects.count() < left
    assert not Image.objects.exists()
    assert f"{count:,} of {count:,} images deleted" in page.content.decode()
    assert LogEntry.objects.count() == count
    assert not Build.objects.filter(discarded_at=None).exists()


def test_all_that_the_list_found_is_meant_beyond_its_page(
    counter: Client, owner: User, sent: list[Any]
) -> None:
    made(owner, 130)
    Image.objects.filter(tag="7").update(public=True)
    chosen = {"action": "publish", "select_across": "1", "index": "0", "_selected_action": ["x"]}
    asked = counter.post(f"{LIST}?public__exact=0", chosen, follow=True)
    assert asked.context["total"] == 129
    counter.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    while BulkAction.objects.get().ended_at is None:
        bulk.carry_on_all(seconds=1)
    assert Image.objects.filter(public=True).count() == 130


def test_more_than_one_action_takes_is_refused_before_anything_is_done(
    counter: Client, owner: User, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(owner, 3)
    monkeypatch.setattr(bulk, "MOST", 2)
    chosen = {"action": "delete_selected", "select_across": "1", "index": "0"}
    answer = counter.post(LIST, {**chosen, "_selected_action": ["x"]}, follow=True)
    assert "narrow the list first" in said(answer)[0]
    assert not BulkAction.objects.exists()


def test_nothing_is_done_before_it_is_confirmed_by_whoever_selected(
    counter: Client, desk: Client, operator: User, owner: User, sent: list[Any]
) -> None:
    made(owner, 2)
    action = drafted("delete", operator)
    bulk.carry_on_all(seconds=5)
    address = f"{LIST}bulk/{action.pk}/"
    assert counter.post(address, {"confirm": "yes"}).status_code == 403
    counter.post(address, {"carry-on": "yes"})
    assert Image.objects.count() == 2
    desk.post(address, {"confirm": "yes"})
    assert not Image.objects.exists()


def test_the_housekeeping_ends_what_a_closed_browser_began(
    keeper: User, owner: User, sent: list[Any]
) -> None:
    made(owner, 5)
    action = confirmed("delete", keeper)
    bulk.carry_on(action.pk, seconds=0)
    assert Image.objects.count() == 4
    while bulk.open_actions().exists():
        tick()
    assert outcome(action) == {"done": 5}


def test_what_is_stopped_leaves_the_rest_as_it_was(
    counter: Client, keeper: User, owner: User, sent: list[Any]
) -> None:
    made(owner, 5)
    action = confirmed("delete", keeper)
    bulk.carry_on(action.pk, seconds=0)
    page = counter.post(f"{LIST}bulk/{action.pk}/", {"stop": "yes"}, follow=True)
    assert bulk.STOPPED in page.content.decode()
    bulk.carry_on_all(seconds=10)
    assert (Image.objects.count(), outcome(action)) == (4, {"done": 1, "refused": 4})


def test_who_lost_the_right_meanwhile_gets_nothing_more_done(
    keeper: User, owner: User, sent: list[Any]
) -> None:
    made(owner, 3)
    action = confirmed("delete", keeper)
    bulk.carry_on(action.pk, seconds=0)
    keeper.groups.clear()
    bulk.carry_on_all(seconds=10)
    assert (Image.objects.count(), outcome(action)) == (2, {"done": 1, "refused": 2})


def test_one_image_that_cannot_be_done_stops_no_other(
    keeper: User, owner: User, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(owner, 4)
    action = confirmed("delete", keeper)
    first, second = Image.objects.order_by("created_at", "id")[:2]
    Image.objects.filter(pk=first.pk).update(protected=True)
    delete = catalog.delete

    def broken(image: Image) -> None:
        delete(image)
        if image.pk == second.pk:
            raise ValueError("planted")

    monkeypatch.setattr(catalog, "delete", broken)
    bulk.carry_on_all(seconds=10)
    assert outcome(action) == {"done": 2, "refused": 2}
    notes = dict(BulkItem.objects.filter(state="refused").values_list("object_id", "note"))
    assert "protection" in notes[first.pk]
    assert notes[second.pk] == bulk.BROKEN
    assert set(Image.objects.values_list("pk", flat=True)) == {first.pk, second.pk}
    assert all(whole(image.pk) for image in (first, second))
    assert LogEntry.objects.count() == 2


def test_while_the_database_is_away_nothing_is_lost_or_half_done(
    keeper: User, owner: User, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(owner, 3)
    action = confirmed("delete", keeper)
    delete = catalog.delete

    def away(image: Image) -> None:
        delete(image)
        raise OperationalError("planted")

    monkeypatch.setattr(catalog, "delete", away)
    bulk.carry_on_all(seconds=10)
    assert (Image.objects.count(), outcome(action)) == (3, {"waiting": 3})
    monkeypatch.undo()
    bulk.carry_on_all(seconds=10)
    assert (Image.objects.count(), outcome(action)) == (0, {"done": 3})
    assert LogEntry.objects.count() == 3


def test_an_image_made_anew_under_the_same_name_is_not_meant(keeper: User, send: Send) -> None:
    send()
    action = confirmed("delete", keeper)
    catalog.delete(Image.objects.get())
    send()
    bulk.carry_on_all(seconds=10)
    assert (Image.objects.count(), outcome(action)) == (1, {"refused": 1})
    assert BulkItem.objects.get().note == bulk.ANOTHER


# At the same moment


def test_two_operators_who_delete_the_same_images_are_both_told_what_came_of_it(
    keeper: User, operator: User, owner: User, sent: list[Any]
) -> None:
    made(owner, 12)
    actions = [confirmed("delete", by) for by in (keeper, operator)]
    at_once(lambda action: bulk.carry_on(action.pk, seconds=30), *actions)
    bulk.carry_on_all(seconds=30)
    found = [outcome(action) for action in actions]
    assert sum(each.get("done", 0) for each in found) == 12
    assert sum(each.get("refused", 0) for each in found) == 12
    assert set(BulkItem.objects.filter(state="refused").values_list("note", flat=True)) == {
        bulk.GONE
    }
    assert not Image.objects.exists()
    assert LogEntry.objects.count() == 12


def test_two_who_carry_on_the_same_action_do_each_image_once(
    keeper: User, owner: User, sent: list[Any]
) -> None:
    made(owner, 12)
    action = confirmed("delete", keeper)
    at_once(lambda pk: bulk.carry_on(pk, seconds=30), action.pk, action.pk, action.pk)
    bulk.carry_on_all(seconds=30)
    assert outcome(action) == {"done": 12}
    assert LogEntry.objects.count() == 12


def test_a_rebuild_during_a_delete_leaves_all_of_an_image_or_nothing(
    keeper: User, operator: User, send: Send
) -> None:
    ids = [built(send(tag=str(tag))).pk for tag in range(4)]
    rebuild, delete = confirmed("rebuild", keeper), confirmed("delete", operator)
    at_once(lambda action: bulk.carry_on(action.pk, seconds=30), rebuild, delete)
    bulk.carry_on_all(seconds=30)
    assert outcome(delete) == {"done": 4}
    assert not Image.objects.exists()
    assert all(whole(image_id) for image_id in ids)
    assert not Build.objects.exclude(status__in=["succeeded", "cancelled"]).exists()
    notes = BulkItem.objects.filter(action=rebuild, state="refused").values_list("note", flat=True)
    assert set(notes) <= {bulk.GONE}


def test_a_cancel_that_meets_the_end_of_a_build_is_told_how_it_ended(
    keeper: User, send: Send
) -> None:
    for tag in map(str, range(4)):
        send(tag=tag)
    cancel = confirmed("cancel", keeper)
    queued = list(Build.objects.values_list("pk", flat=True))

    def run(task: Any) -> None:
        if isinstance(task, BulkAction):
            bulk.carry_on(task.pk, seconds=30)
        else:
            for pk in task:
                runner.run(pk)

    at_once(run, cancel, queued)
    bulk.carry_on_all(seconds=30)
    states = dict(Build.objects.values_list("image_id", "status"))
    assert set(states.values()) <= {"succeeded", "cancelled"}
    for item in cancel.items.all():
        ended = states[item.object_id]
        assert item.state == ("done" if ended == "cancelled" else "refused"), item.note
        assert "ended" in item.note or ended == "cancelled"
