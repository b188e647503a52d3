import pytest
from django.test import Client

from accounts.models import User
from images.models import Image
from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/images/image/"


def test_an_operator_finds_images_by_name_tag_and_owner(
    desk: Client, send: Send, owner: User
) -> None:
    send(name="web-front")
    send(name="database")
    for words, found, other in (
        ("web", "web-front", "database"),
        (f"{owner.username} data", "database", "web-front"),
    ):
        page = desk.get(LIST, {"q": words}).content.decode()
        assert f"{owner.username}/{found}:1.0" in page
        assert f"{owner.username}/{other}:1.0" not in page


def test_deleting_selected_images_goes_through_the_catalog_and_says_what_goes(
    desk: Client, send: Send
) -> None:
    ids = [send(tag=tag).json()["image_id"] for tag in ("1", "2")]
    chosen = {"action": "delete_selected", "_selected_action": ids}
    page = desk.post(LIST, chosen).content.decode()
    assert "its tag in the registry, its context and its log" in page
    desk.post(LIST, {**chosen, "post": "yes"})
    assert not Image.objects.exists()


def test_a_protected_image_is_not_deleted_from_the_admin(desk: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    Image.objects.update(protected=True)
    answer = desk.post(f"{LIST}{image_id}/delete/", {"post": "yes"})
    assert answer.status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [image_id], "post": "yes"}
    desk.post(LIST, chosen)
    assert Image.objects.exists()


def test_nothing_is_changed_past_the_catalog(desk: Client, send: Send) -> None:
    image_id = send().json()["image_id"]
    answer = desk.post(f"{LIST}{image_id}/change/", {"public": "on"})
    assert answer.status_code == 403
    assert not Image.objects.get().public


def test_builds_are_there_to_read(desk: Client, send: Send) -> None:
    send()
    page = desk.get("/admin/builds/build/").content.decode()
    assert "my-app:1.0" in page
    assert "Add build" not in page


def test_a_stranger_sees_none_of_it(stranger: User, send: Send) -> None:
    send()
    browser = Client()
    browser.force_login(stranger)
    assert browser.get(LIST).status_code == 302
