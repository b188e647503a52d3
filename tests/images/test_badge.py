"""The badge: a small picture of a public image's state, and nothing of a private one's."""

from xml.etree import ElementTree as ET

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from builds.models import Build
from images.models import Image
from images.rest.badge import COLOURS, badge
from tests.conftest import stand
from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("status", "word"), [("queued", "queued"), ("pushing", "building"), ("failed", "failed")]
)
def test_anybody_sees_where_a_public_image_stands(
    send: Send, owner: User, status: str, word: str
) -> None:
    send(public="true")
    stand(Build.objects.all(), status)
    answer = APIClient().get(f"/images/{owner.username}/my-app:1.0/badge.svg")
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")
    assert ET.fromstring(answer.content).attrib["aria-label"] == f"my-app:1.0: {word}"
    assert answer["Cache-Control"] == "public, max-age=60"
    again = APIClient().get(
        f"/images/{owner.username}/my-app:1.0/badge.svg", HTTP_IF_NONE_MATCH=answer["ETag"]
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_private_image_has_none_for_others(
    send: Send, owner: User, api: APIClient, strangers_api: APIClient
) -> None:
    send()
    path = f"/images/{owner.username}/my-app:1.0/badge.svg"
    for client in (APIClient(), strangers_api):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")
    own = api.get(path)
    assert (own.status_code, own["Cache-Control"]) == (200, "private, max-age=60")


def test_a_key_for_another_image_shows_none(send: Send, owner: User) -> None:
    send()
    other = send(tag="2").json()["image_id"]
    client = APIClient()
    _, key = ApiKey.objects.issue(owner, scopes=[f"images:read:{other}"])
    client.credentials(HTTP_AUTHORIZATION=key)
    assert client.get("/images/my-app:1.0/badge.svg").status_code == 401
    assert client.get("/images/my-app:2/badge.svg").status_code == 200


@pytest.mark.parametrize("word", COLOURS)
def test_a_badge_is_valid_whatever_it_says(word: str) -> None:
    label = "\"><script>&'</text>"
    drawn = ET.fromstring(badge(label, word))
    assert drawn.attrib["aria-label"] == f"{label}: {word}"
    assert not [each for each in drawn.iter() if each.tag.endswith("script")]
    assert len(ET.fromstring(badge("x" * 200, word)).attrib["aria-label"]) < 80


def test_no_name_ends_as_the_address_of_a_badge(send: Send) -> None:
    assert send(name="app/badge.svg").status_code == 422
    assert not Image.objects.exists()
