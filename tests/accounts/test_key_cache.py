"""A key that was valid a moment ago is not looked up again; one that was revoked never passes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey, User, key_cache
from accounts.models.key_cache import KEPT_SECONDS, KEYS
from accounts.models.keys import digest
from images.live.access_watch import ASK_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def text(owner: User) -> str:
    return ApiKey.objects.issue(owner, label="kept")[1]


def found(text: str) -> ApiKey | None:
    return ApiKey.objects.named_by(text, cached=True)


def test_a_key_is_looked_up_once(text: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        for _ in range(3):
            assert found(text) is not None
    with django_assert_num_queries(1):
        assert ApiKey.objects.named_by(text) is not None


def test_it_is_kept_no_longer_than_streams_go_unchecked() -> None:
    assert KEPT_SECONDS <= ASK_SECONDS <= 3


def test_after_some_seconds_it_is_looked_up_again(
    text: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    assert found(text)
    now = key_cache.monotonic()
    monkeypatch.setattr(key_cache, "monotonic", lambda: now + KEPT_SECONDS + 0.01)
    with django_assert_num_queries(1):
        assert found(text)


@pytest.mark.parametrize(
    "end",
    [
        lambda key: ApiKey.objects.filter(pk=key.pk).revoke(),
        lambda key: ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now()),
        lambda key: ApiKey.objects.filter(pk=key.pk).delete(),
        lambda key: User.objects.filter(pk=key.user_id).update(is_active=False),
        lambda key: deactivate(User.objects.get(pk=key.user_id)),
    ],
)
def test_what_ends_a_key_in_this_process_is_obeyed_at_once(
    text: str, owner: User, end: Callable[[ApiKey], object]
) -> None:
    key = found(text)
    assert key is not None
    end(key)
    assert found(text) is None


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def test_a_revocation_is_obeyed_when_its_transaction_is_committed(text: str) -> None:
    with transaction.atomic():
        ApiKey.objects.all().revoke()
        KEYS.put("read by somebody else meanwhile", ApiKey(), KEYS.generation)
    assert found(text) is None


def test_what_was_read_before_a_change_is_not_kept(text: str) -> None:
    before = KEYS.generation
    key = ApiKey.objects.get()
    ApiKey.objects.all().revoke()
    KEYS.put("digest", key, before)
    assert KEYS.get("digest") is None


def test_a_key_expires_while_it_is_kept(text: str) -> None:
    key = found(text)
    assert key is not None
    key.expires_at = timezone.now() - timedelta(seconds=1)
    assert KEYS.get(digest(text)) is None


def test_another_secret_does_not_pass_for_a_kept_key(text: str) -> None:
    assert found(text)
    assert found(f"{text[:-1]}{'a' if text[-1] != 'a' else 'b'}") is None


def test_it_never_grows_beyond_its_bound(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_cache, "MOST", 3)
    key = found(text)
    assert key is not None
    for n in range(10):
        KEYS.put(str(n), key, KEYS.generation)
    assert len(KEYS._found) <= 3
