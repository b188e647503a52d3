"""Webhooks by the API: one's own only, with a secret that is told once."""

from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from tests.images.conftest import client_of
from webhooks.events import note_test
from webhooks.models import EVENTS, Webhook

pytestmark = pytest.mark.django_db
URL = "https://example.com/hooks"


@pytest.fixture
def client(owner: User) -> APIClient:
    return client_of(owner)


def keyed(user: User, *scopes: str) -> APIClient:
    found = APIClient()
    _, key = ApiKey.objects.issue(user, scopes=scopes)
    found.credentials(HTTP_AUTHORIZATION=key)
    return found


def made(client: APIClient, **values: Any) -> Any:
    return client.post("/webhooks/", {"url": URL, **values}, format="json")


def test_a_webhook_is_made_looked_at_changed_and_deleted(client: APIClient) -> None:
    answer = made(client, events=["build_failed", "build_failed"])
    told = answer.json()
    secret = told.pop("secret")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    assert secret == Webhook.objects.get().secret
    assert len(secret) > 40
    assert told["events"] == ["build_failed"]
    path = f"/webhooks/{told['webhook_id']}"
    assert client.get(path).json() == told
    assert client.get("/webhooks/").json()["items"] == [told]
    changed = client.patch(path, {"active": False, "events": []}, format="json")
    assert changed.json() == {**told, "active": False, "events": []}
    assert client.delete(path).json() == {"webhook_id": told["webhook_id"], "deleted": True}
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": "http://127.0.0.1:8000/"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "gopher://example.com/"}, "url"),
        ({"url": 1}, "url"),
        ({"url": "https://user:secret@example.com/"}, "url"),
        ({"events": ["build_lost"]}, "events"),
        ({"events": "build_failed"}, "events"),
        ({"events": ["build_failed"] * 7}, "events"),
        ({"active": "yes"}, "active"),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    client: APIClient, values: dict[str, Any], field: str
) -> None:
    answer = made(client, **values)
    assert answer.status_code == 422
    assert {entry["loc"][1] for entry in answer.json()["detail"]} == {field}
    hook = made(client).json()["webhook_id"]
    assert client.patch(f"/webhooks/{hook}", values, format="json").status_code == 422
    assert Webhook.objects.get().url == URL


def test_nobody_has_more_than_a_few(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.views.MOST_WEBHOOKS", 1)
    assert [made(client).status_code for _ in range(2)] == [200, 409]


@pytest.mark.parametrize("whose", ["owner's", "instance's"])
def test_others_webhooks_and_what_was_sent_to_them_are_not_there(
    owner: User, stranger: User, whose: str
) -> None:
    hook = Webhook.objects.create(owner=owner if whose == "owner's" else None, url=URL)
    note_test(hook)
    other = client_of(stranger)
    path = f"/webhooks/{hook.pk}"
    assert other.get("/webhooks/").json()["total"] == 0
    for answer in (
        other.get(path),
        other.patch(path, {"url": "https://evil.example/"}, format="json"),
        other.delete(path),
        other.post(f"{path}/test"),
        other.get(f"{path}/deliveries"),
        other.get(f"/webhooks/{uuid4()}/deliveries"),
    ):
        assert answer.status_code == 404
        assert answer.json()["code"] == "webhook_not_found"
    assert Webhook.objects.get().url == URL


def test_without_credentials_there_is_nothing(owner: User) -> None:
    hook = Webhook.objects.create(owner=owner, url=URL)
    for path in ("/webhooks/", f"/webhooks/{hook.pk}", f"/webhooks/{hook.pk}/deliveries"):
        assert APIClient().get(path).status_code == 401


def test_keys_do_what_their_scopes_say(owner: User) -> None:
    hook = Webhook.objects.create(owner=owner, url=URL)
    path = f"/webhooks/{hook.pk}"
    reader, one = keyed(owner, "webhooks:read"), keyed(owner, f"webhooks:read:{hook.pk}")
    images = keyed(owner, "images:read", "images:write", "images:delete")
    assert reader.get("/webhooks/").status_code == 200
    assert made(reader).status_code == 401
    assert reader.delete(path).status_code == 401
    assert one.get(path).status_code == 200
    assert one.get("/webhooks/").status_code == 401
    assert images.get(path).status_code == 401
    assert made(images).status_code == 401
    assert made(keyed(owner, "webhooks:write")).status_code == 200
    other = Webhook.objects.create(owner=owner, url=URL)
    assert one.get(f"/webhooks/{other.pk}").status_code == 401
    assert one.get(f"/webhooks/{other.pk}/deliveries").status_code == 401


def test_a_test_is_sent_once_at_a_time_and_logged(client: APIClient, owner: User) -> None:
    path = f"/webhooks/{made(client, events=[EVENTS[0]]).json()['webhook_id']}"
    sent = client.post(f"{path}/test")
    assert (sent.status_code, sent.json()["event"], sent.json()["state"]) == (
        *(202, "test"),
        "waiting",
    )
    assert client.post(f"{path}/test").status_code == 409
    assert client.get(f"{path}/deliveries").json()["items"] == [sent.json()]
