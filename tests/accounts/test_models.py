import hashlib
import re
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import ApiKey, SpentSignature, User, UsersStay
from tests.accounts.keypair import Keypair

pytestmark = pytest.mark.django_db


# Users


@pytest.mark.parametrize("name", ["abc", "A-b", "a_b", "a__b", "a---b", "0a0", "x" * 32])
def test_a_name_that_can_be_part_of_a_repository_is_taken(name: str) -> None:
    assert User.objects.create_user(name).username == name


@pytest.mark.parametrize(
    "name",
    ["", "ab", "x" * 33, "a b", "a.b", "-ab", "ab-", "_ab", "ab_", "a___b", "a-_b", "abé", "abc\n"],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="username"):
        User.objects.create_user(name)
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        User.objects.bulk_create([User(username=name)])


def test_a_name_is_given_once_whatever_its_case() -> None:
    User.objects.create_user("Somebody")
    with pytest.raises(ValidationError, match="exists"):
        User.objects.create_user("someBODY")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.bulk_create([User(username="somebody")])


def test_names_that_a_pattern_would_confuse_are_two() -> None:
    User.objects.create_user("axb")
    assert User.objects.create_user("a_b").username == "a_b"
    assert User.objects.filter(username__iexact="A_B").count() == 1


def test_a_user_is_never_deleted(owner: User) -> None:
    with pytest.raises(UsersStay):
        owner.delete()
    with pytest.raises(UsersStay):
        User.objects.filter(pk=owner.pk).delete()
    with pytest.raises(UsersStay):
        User.objects.all().delete()
    assert User.objects.filter(pk=owner.pk).exists()


def test_a_name_never_changes(owner: User) -> None:
    owner.username = "renamed"
    with pytest.raises(ValidationError, match="never changed"):
        owner.full_clean()
    owner.refresh_from_db()
    owner.daily_build_limit = 3
    owner.full_clean()


def test_a_hotkey_is_an_address_and_belongs_to_one_user(owner: User, stranger: User) -> None:
    owner.hotkey = Keypair().hotkey
    owner.full_clean()
    owner.save()
    stranger.hotkey = owner.hotkey
    with pytest.raises(ValidationError, match="this hotkey exists"):
        stranger.full_clean()
    stranger.hotkey = owner.hotkey[:-1]
    with pytest.raises(ValidationError, match="ss58"):
        stranger.full_clean()


def test_many_users_have_no_hotkey(owner: User, stranger: User) -> None:
    assert (owner.hotkey, stranger.hotkey) == (None, None)


def test_a_user_without_a_password_cannot_log_in(owner: User, operator: User) -> None:
    assert not owner.has_usable_password()
    assert operator.check_password("operates-everything")
    assert (operator.is_staff, operator.is_superuser) == (True, True)


# API keys


def test_a_key_is_told_once_and_only_its_digest_is_kept(owner: User) -> None:
    key, text = ApiKey.objects.issue(owner, label="ci")
    shape = rf"cpk_{key.pk.hex}\.{owner.pk.hex}\.[a-zA-Z0-9]{{32}}"
    assert re.fullmatch(shape, text)
    assert len(text) == 102
    kept = ApiKey.objects.values().get()
    assert kept["digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert text[-32:] not in str(kept)
    assert kept["scopes"] == ["all"]


def test_no_two_keys_share_a_secret(owner: User) -> None:
    assert len({ApiKey.objects.issue(owner)[1][-32:] for _ in range(20)}) == 20


def test_a_key_is_found_by_its_whole_text_only(owner: User, stranger: User) -> None:
    key, text = ApiKey.objects.issue(owner)
    _, other = ApiKey.objects.issue(stranger)
    assert ApiKey.objects.named_by(text) == key
    for wrong in (
        text[:-1] + ("a" if text[-1] != "a" else "b"),
        text.replace(owner.pk.hex, stranger.pk.hex),
        text[:-32] + other[-32:],
        text.upper(),
        text + "\n",
        text[:-1],
        "",
    ):
        assert ApiKey.objects.named_by(wrong) is None


def test_a_key_ends_by_revoking_expiring_or_with_its_user(owner: User) -> None:
    revoked, first = ApiKey.objects.issue(owner)
    _, second = ApiKey.objects.issue(owner, expires_at=timezone.now() - timedelta(seconds=1))
    _, third = ApiKey.objects.issue(owner, expires_at=timezone.now() + timedelta(hours=1))
    assert ApiKey.objects.named_by(first) is not None
    assert ApiKey.objects.filter(pk=revoked.pk).revoke() == 1
    assert ApiKey.objects.filter(pk=revoked.pk).revoke() == 0
    assert ApiKey.objects.named_by(first) is None
    assert ApiKey.objects.named_by(second) is None
    assert ApiKey.objects.named_by(third) is not None
    owner.is_active = False
    owner.save()
    assert ApiKey.objects.named_by(third) is None


def test_a_key_takes_no_scope_that_does_not_exist(owner: User) -> None:
    with pytest.raises(ValidationError, match="image:read"):
        ApiKey.objects.issue(owner, scopes=["image:read"])
    with pytest.raises(ValidationError, match="blank"):
        ApiKey.objects.issue(owner, scopes=[])
    with pytest.raises(ValidationError, match="list"):
        ApiKey(user=owner, digest="0" * 64, scopes="all").full_clean()
    assert not ApiKey.objects.exists()


def test_the_last_use_is_noted_once_a_minute(owner: User) -> None:
    key, _ = ApiKey.objects.issue(owner)
    key.note_use()
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    ApiKey.objects.get().note_use()
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=1))
    ApiKey.objects.get().note_use()
    again = ApiKey.objects.get().last_used_at
    assert again is not None
    assert again > first


# Signatures


def test_a_signature_is_spent_once() -> None:
    until = timezone.now() + timedelta(minutes=10)
    assert SpentSignature.objects.spend(bytes(64), until=until)
    assert not SpentSignature.objects.spend(bytes(64), until=until)
    assert SpentSignature.objects.spend(bytes(63) + b"1", until=until)


def test_expired_signatures_are_forgotten_and_no_others() -> None:
    now = timezone.now()
    SpentSignature.objects.spend(b"a" * 64, until=now - timedelta(seconds=1))
    SpentSignature.objects.spend(b"b" * 64, until=now + timedelta(seconds=60))
    assert SpentSignature.objects.prune() == 1
    assert bytes(SpentSignature.objects.get().signature) == b"b" * 64


def test_spending_sweeps_up_now_and_then() -> None:
    now = timezone.now()
    SpentSignature.objects.spend(b"a" * 64, until=now - timedelta(seconds=1))
    for first in range(256):
        SpentSignature.objects.spend(bytes([first]) + b"b" * 63, until=now + timedelta(seconds=9))
    assert SpentSignature.objects.count() == 256


@pytest.mark.django_db(transaction=True)
def test_of_many_who_hand_in_a_signature_at_once_one_is_the_first() -> None:
    until = timezone.now() + timedelta(minutes=10)
    together = threading.Barrier(8)
    answers: list[bool] = []

    def spend() -> None:
        together.wait()
        answers.append(SpentSignature.objects.spend(bytes(64), until=until))
        connection.close()

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(answers) == [False] * 7 + [True]
