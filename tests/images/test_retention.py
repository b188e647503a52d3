"""Images go by their label and by their owner's rules, and take no more room than they may."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from builds.conf import BuildSettings
from builds.expiry import LONGEST, BadExpiry, expires_after
from builds.status import Status
from images import catalog, retention
from images.models import Image
from tests.conftest import log_of
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("2w", 1_209_600)]
)
def test_the_label_is_read_as_quay_reads_it(text: str, seconds: int) -> None:
    assert expires_after({"quay.expires-after": text}) == timedelta(seconds=seconds)


def test_a_label_is_bounded_and_refused_where_it_says_nothing() -> None:
    assert expires_after({"quay.expires-after": "999999w"}) == LONGEST
    assert expires_after({"other": "1d"}) is None
    for text in ("", "1", "d", "-1d", "0d", "1.5d", "1y", "1d 2h", "9999999999d"):
        with pytest.raises(BadExpiry):
            expires_after({"quay.expires-after": text})


def test_an_image_goes_when_its_label_says_so(send: Send) -> None:
    image = built(send(labels='{"quay.expires-after": "2h"}'))
    kept = built(send(tag="kept"))
    assert kept.expires_at is None
    assert image.expires_at is not None
    assert timedelta(minutes=119) < image.expires_at - timezone.now() < timedelta(minutes=121)
    retention.delete_due()
    assert Image.objects.count() == 2
    Image.objects.filter(pk=image.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    retention.delete_due()
    assert list(Image.objects.all()) == [kept]


def test_a_label_that_is_not_understood_is_told_in_the_log(send: Send) -> None:
    image = built(send(labels='{"quay.expires-after": "soon"}'))
    assert image.expires_at is None
    assert image.build.state is Status.SUCCEEDED
    assert any("quay.expires-after takes" in text for _, text, *_ in log_of(image.build))


def test_protected_images_stay(send: Send) -> None:
    image = built(send(labels='{"quay.expires-after": "2h"}'))
    past = timezone.now() - timedelta(hours=1)
    Image.objects.filter(pk=image.pk).update(expires_at=past, protected=True)
    retention.delete_due()
    assert Image.objects.exists()


def tags() -> set[str]:
    return {f"{image.name}:{image.tag}" for image in Image.objects.all()}


@pytest.fixture
def many(send: Send) -> None:
    """Three of `web`, each ten days older than the one before, and two of `api`."""
    for age, (name, tag) in enumerate([("web", "3"), ("web", "2"), ("web", "1")]):
        image = built(send(name=name, tag=tag))
        made = timezone.now() - timedelta(days=10 * age)
        Image.objects.filter(pk=image.pk).update(created_at=made)
    for tag in ("1", "2"):
        built(send(name="api", tag=tag))


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ([("web", 1, None)], {"web:3", "api:1", "api:2"}),
        ([("web", None, 15)], {"web:3", "web:2", "api:1", "api:2"}),
        ([("web", 2, 5)], {"web:3", "web:2", "api:1", "api:2"}),
        ([("web", 0, 5)], {"web:3", "api:1", "api:2"}),
        ([("", 1, None)], {"web:3", "api:2"}),
        ([("", 1, None), ("web", 2, None)], {"web:3", "web:2", "api:2"}),
        ([], {"web:3", "web:2", "web:1", "api:1", "api:2"}),
    ],
)
def test_rules_of_names(
    many: None, owner: User, rules: list[tuple[str, int | None, int | None]], left: set[str]
) -> None:
    made = [retention.Rule(name=n, keep_last=keep, expire_days=days) for n, keep, days in rules]
    retention.set_rules(owner, made)
    retention.delete_due()
    assert tags() == left


def test_owners_set_their_own_rules_and_no_others(
    api: APIClient, send: Send, stranger: User
) -> None:
    rules = [{"name": "Web", "keep_last": 2, "expire_days": None}]
    answer = api.patch("/users/me/retention", {"rules": rules}, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json() == {"rules": [{"name": "web", "keep_last": 2, "expire_days": None}]}
    assert api.get("/users/me/retention").json() == answer.json()
    other = APIClient()
    other.credentials(HTTP_AUTHORIZATION=ApiKey.objects.issue(stranger)[1])
    assert other.get("/users/me/retention").json() == {"rules": []}
    assert APIClient().get("/users/me/retention").status_code == 401
    assert APIClient().get("/users/me/storage").status_code == 401


@pytest.mark.parametrize(
    "rules",
    [
        [{"name": "web"}],
        [{"name": "web", "keep_last": -1}],
        [{"name": "web", "expire_days": 0}],
        [{"name": "web", "keep_last": 1}, {"name": "WEB", "keep_last": 2}],
        [{"keep_last": 1}],
        [{"name": "web", "keep_last": 1, "keep_first": 1}],
        [{"name": f"n{n}", "keep_last": 1} for n in range(101)],
        "all",
    ],
)
def test_rules_that_say_nothing_are_refused(api: APIClient, rules: Any) -> None:
    answer = api.patch("/users/me/retention", {"rules": rules}, format="json")
    assert answer.status_code == 422, answer.content
    assert api.patch("/users/me/retention", {"rule": []}, format="json").status_code == 422
    assert api.get("/users/me/retention").json() == {"rules": []}


def test_images_take_no_more_room_than_they_may(
    send: Send, api: APIClient, owner: User, deployment: BuildSettings, settings: Any
) -> None:
    image = built(send())
    used = image.good_bytes
    assert used > 0
    assert api.get("/users/me/storage").json() == {"used_bytes": used, "limit_bytes": None}
    settings.BUILDS = replace(deployment, storage_mb=1)
    assert send(tag="within").status_code == 202
    Image.objects.filter(pk=image.pk).update(good_bytes=1024 * 1024)
    answer = send(tag="beyond")
    assert (answer.status_code, answer.json()["code"]) == (403, "storage_exceeded")
    assert "1 MiB of 1 MiB" in answer.json()["detail"]
    User.objects.filter(pk=owner.pk).update(storage_limit_mb=5)
    assert api.get("/users/me/storage").json()["limit_bytes"] == 5 * 1024 * 1024
    assert send(tag="beyond").status_code == 202
    User.objects.filter(pk=owner.pk).update(storage_limit_mb=None)
    catalog.delete(Image.objects.get(pk=image.pk))
    assert send(tag="again").status_code == 202
