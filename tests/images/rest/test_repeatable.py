"""Requests sent again, limits that are told, and changes that expect a state."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from builds.conf import BuildSettings
from builds.models import Build
from images.models import Image, RepeatableAnswer
from images.rest.idempotency import drop_old_answers
from tests.conftest import zipped
from tests.images.conftest import Send, built, form

pytestmark = pytest.mark.django_db(transaction=True)
REF = "/images/my-app:1.0"
CONTEXT = zipped(a_txt="a")
"""Packed once: an archive has the time in it."""


def post(api: APIClient, owner: User, key: str, **values: Any) -> Any:
    values.setdefault("build_context", SimpleUploadedFile("chute.zip", CONTEXT))
    body = form(owner.username, **values)
    return api.post("/images/", body, format="multipart", HTTP_IDEMPOTENCY_KEY=key)


@pytest.fixture
def ready(deployment: BuildSettings, sent: list[Any], standing: None) -> None:
    """Builds may be asked for."""


def test_a_request_that_is_sent_again_gets_the_answer_of_the_first(
    api: APIClient, owner: User, ready: None
) -> None:
    first = post(api, owner, "one")
    again = post(api, owner, "one")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Build.objects.count() == 1
    assert post(api, owner, "two").status_code == 409


@pytest.mark.parametrize(
    "change",
    [
        {"tag": "2"},
        {"dockerfile": "FROM scratch"},
        {"build_context": SimpleUploadedFile("chute.zip", zipped(b_txt="b"))},
    ],
)
def test_a_key_of_another_request_is_refused(
    api: APIClient, owner: User, ready: None, change: dict[str, Any]
) -> None:
    post(api, owner, "one")
    answer = post(api, owner, "one", **change)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert Build.objects.count() == 1


def test_keys_are_each_users_own(
    api: APIClient, strangers_api: APIClient, owner: User, stranger: User, ready: None
) -> None:
    post(api, owner, "one")
    other = post(strangers_api, stranger, "one")
    assert (other.status_code, other.json()["user_id"]) == (202, str(stranger.pk))
    assert Build.objects.count() == 2
    assert APIClient().post("/images/", HTTP_IDEMPOTENCY_KEY="one").status_code == 401


def test_what_was_refused_may_be_sent_again(api: APIClient, owner: User, ready: None) -> None:
    owner.daily_build_limit = 0
    owner.save()
    assert post(api, owner, "one").status_code == 429
    assert not RepeatableAnswer.objects.exists()
    owner.daily_build_limit = 1
    owner.save()
    assert post(api, owner, "one").status_code == 202


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "a" * 256])
def test_a_key_that_is_none_is_refused(api: APIClient, owner: User, ready: None, key: str) -> None:
    answer = post(api, owner, key.encode().decode("latin-1"))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert not Build.objects.exists()


def test_a_key_does_not_go_with_a_stream(api: APIClient, owner: User, ready: None) -> None:
    answer = post(api, owner, "one", wait="true")
    assert answer.json()["detail"][0]["loc"] == ["body", "wait"]
    assert not Build.objects.exists()


def test_a_day_later_a_key_is_new(api: APIClient, owner: User, ready: None, send: Send) -> None:
    post(api, owner, "one")
    RepeatableAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24))
    assert post(api, owner, "one", tag="2").status_code == 202
    RepeatableAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24))
    drop_old_answers()
    assert not RepeatableAnswer.objects.exists()


def test_a_rebuild_is_asked_for_once(api: APIClient, send: Send) -> None:
    built(send())
    first = api.post(f"{REF}/rebuild", HTTP_IDEMPOTENCY_KEY="again")
    again = api.post(f"{REF}/rebuild", HTTP_IDEMPOTENCY_KEY="again")
    assert (first.json(), first.status_code) == (again.json(), again.status_code)
    assert Build.objects.count() == 2
    other = api.post("/images/my-app/rebuild", HTTP_IDEMPOTENCY_KEY="again")
    assert other.status_code in (404, 409)


def limits(answer: Any) -> list[int]:
    return [int(answer.headers[f"RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")]


def test_answers_tell_what_is_left_of_the_quota(
    api: APIClient, send: Send, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=2)
    assert api.get("/users/me").json()["quota"] == {
        "limit": 2,
        "used": 0,
        "remaining": 2,
        "reset_seconds": 0,
    }
    limit, remaining, reset = limits(send())
    assert (limit, remaining) == (2, 1)
    assert 86_000 < reset <= 86_400
    api.post(f"{REF}/cancel")
    assert limits(api.post(f"{REF}/rebuild"))[:2] == [2, 0]
    refused = send(tag="2")
    assert refused.status_code == 429
    assert limits(refused)[:2] == [2, 0]
    assert str(limits(refused)[2]) == refused.headers["Retry-After"]
    quota = api.get("/users/me").json()["quota"]
    assert (quota["used"], quota["remaining"]) == (2, 0)


def test_operators_have_no_limit(owner: User, api: APIClient, send: Send) -> None:
    owner.is_staff = True
    owner.save()
    assert "RateLimit-Limit" not in send().headers
    quota = api.get("/users/me").json()["quota"]
    assert (quota["limit"], quota["remaining"], quota["used"]) == (None, None, 1)


def test_a_change_may_expect_a_state(api: APIClient, send: Send) -> None:
    built(send())
    etag = api.get(REF).headers["ETag"]
    assert api.get(REF, HTTP_IF_NONE_MATCH=etag).status_code == 304
    first = api.patch(REF, {"readme": "a"}, format="json", HTTP_IF_MATCH=etag)
    assert first.status_code == 200
    second = api.patch(REF, {"readme": "b"}, format="json", HTTP_IF_MATCH=etag)
    assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
    assert Image.objects.get().readme == "a"
    now = api.get(REF).headers["ETag"]
    assert now != etag
    for match in (f'"other", {now}', "*"):
        answer = api.patch(REF, {"readme": "c"}, format="json", HTTP_IF_MATCH=match)
        assert answer.status_code == 200
    for match in ("nonsense", '""', f"W/{now}", ""):
        answer = api.patch(REF, {"readme": "d"}, format="json", HTTP_IF_MATCH=match)
        assert answer.status_code == 412
    assert Image.objects.get().readme == "c"


def test_what_others_may_not_change_is_missing_whatever_state_they_expect(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send(public="true")
    path = f"/images/{owner.username}/my-app:1.0"
    answer = strangers_api.patch(path, {"readme": "x"}, format="json", HTTP_IF_MATCH="*")
    assert answer.status_code == 404


def test_a_name_is_checked_for_those_who_are_known(api: APIClient, stranger: User) -> None:
    for name, valid, available in (
        ("STRANGER", True, False),
        ("nobody", True, True),
        ("a", False, False),
        ("a b c", False, False),
        ("name\n", False, False),
    ):
        answer = api.get("/users/name_check", {"username": name})
        assert answer.json() == {"valid": valid, "available": available}
    assert api.get("/users/name_check").status_code == 422
    assert APIClient().get("/users/name_check", {"username": "nobody"}).status_code == 401


def test_the_server_answers_a_ping(client: Any) -> None:
    assert client.get("/ping").status_code == 200
