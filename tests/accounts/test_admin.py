"""What operators see and do of people and keys, whoever they are."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.admin.keys import ApiKeyAdmin
from accounts.models import ApiKey, User
from tests.accounts.keypair import Keypair, ss58

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.accounts.site")]
KEYS, USERS = "/admin/accounts/apikey/", "/admin/accounts/user/"
ZERO = ss58(bytes(32))
EVERYTHING = {"expires_at": "", "grants": ["all"], "only_image": ""}


def order(owner: User, **values: Any) -> dict[str, Any]:
    return {"user": str(owner.pk), "label": "ci", "key_id": str(uuid4()), **EVERYTHING, **values}


def shown(answer: Any) -> str:
    found = re.search(r"cpk_\w+\.\w+\.\w+", answer.content.decode())
    assert found, answer.content.decode()
    return found[0]


def audit(thing: Any) -> list[str]:
    entries = LogEntry.objects.filter(object_id=str(thing.pk)).order_by("action_time", "id")
    return [str(entry) for entry in entries]


# Users


def test_a_user_is_made_with_a_password(desk: Client) -> None:
    sent = {
        "username": "somebody",
        "hotkey": "",
        "usable_password": "true",
        "password1": "a-long-password",
        "password2": "a-long-password",
    }
    assert desk.post(f"{USERS}add/", sent).status_code == 302
    user = User.objects.get(username="somebody")
    assert user.check_password("a-long-password")
    assert user.hotkey is None
    assert "exists" in desk.post(f"{USERS}add/", sent | {"username": "SOMEBODY"}).content.decode()


def test_a_user_is_changed_but_neither_renamed_nor_deleted(desk: Client, owner: User) -> None:
    sent = {"username": "renamed", "hotkey": Keypair().hotkey, "daily_build_limit": "3"}
    share = {"queue_priority": "0", "queue_weight": "1"}
    answer = desk.post(f"{USERS}{owner.pk}/change/", {**sent, **share, "is_active": "on"})
    assert answer.status_code == 302
    owner.refresh_from_db()
    assert (owner.username, owner.daily_build_limit) == ("owner", 3)
    assert owner.hotkey == Keypair().hotkey
    assert audit(owner) == ["Changed “owner” — Changed Hotkey and Daily build limit."]
    assert desk.post(f"{USERS}{owner.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("hotkey", "why"),
    [
        ("5abc", "is not an ss58 address"),
        ("0x" + "ab" * 20, "is not base58"),
        (Keypair().hotkey[:-1] + "1", "wrong checksum"),
        (ZERO, "is the zero key"),
        (Keypair(2).hotkey, "A user with this hotkey exists"),
    ],
)
def test_a_hotkey_that_nobody_can_use_is_refused(
    desk: Client, owner: User, stranger: User, hotkey: str, why: str
) -> None:
    User.objects.filter(pk=stranger.pk).update(hotkey=Keypair(2).hotkey)
    sent = {"username": "owner", "hotkey": hotkey, "is_active": "on"}
    answer = desk.post(f"{USERS}{owner.pk}/change/", sent)
    assert answer.status_code == 200
    assert why in answer.content.decode()
    owner.refresh_from_db()
    assert owner.hotkey is None


def test_saving_a_user_leaves_alone_what_was_not_changed(desk: Client, owner: User) -> None:
    """Somebody else takes the access away between the form and its sending."""
    admin_class = desk.get(f"{USERS}{owner.pk}/change/").context["adminform"].model_admin
    form = type("Form", (), {"changed_data": ["hotkey"]})()
    User.objects.filter(pk=owner.pk).update(is_active=False)
    owner.hotkey = Keypair().hotkey
    admin_class.save_model(None, owner, form, change=True)
    owner.refresh_from_db()
    assert (owner.is_active, owner.hotkey) == (False, Keypair().hotkey)


# Keys


def test_a_key_is_shown_once_and_kept_nowhere(desk: Client, owner: User) -> None:
    answer = desk.post(f"{KEYS}add/", order(owner, grants=["images:read", "images:write"]))
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    text = shown(answer)
    key = ApiKey.objects.named_by(text)
    assert key is not None
    assert (key.user, key.label, key.scopes) == (owner, "ci", ["images:read", "images:write"])
    assert audit(key) == ["Added “owner: ci”."]
    secret = text[-32:]
    for path in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/"):
        page = desk.get(path).content.decode()
        assert "ci" in page
        assert secret not in page
        assert key.digest not in page
    assert not any(secret in cookie.value for cookie in answer.client.cookies.values())
    assert not any(secret in str(each.get_decoded()) for each in Session.objects.all())


def test_a_form_sent_twice_issues_one_key(desk: Client, owner: User) -> None:
    sent = order(owner)
    shown(desk.post(f"{KEYS}add/", sent))
    again = desk.post(f"{KEYS}add/", sent).content.decode()
    assert "was sent before" in again
    assert "cpk_" not in again
    assert ApiKey.objects.count() == 1


def test_a_key_is_bound_to_one_image_and_a_time(desk: Client, owner: User) -> None:
    image = "49ed040e-b58b-486e-808c-5fd84b0c70f6"
    until = timezone.now() + timedelta(days=2)
    sent = order(
        owner,
        grants=["images:read"],
        only_image=image,
        expires_at=f"{until:%Y-%m-%d}T12:00",
    )
    key = ApiKey.objects.named_by(shown(desk.post(f"{KEYS}add/", sent)))
    assert key is not None
    assert key.scopes == [f"images:read:{image}"]
    assert f"{key.expires_at:%Y-%m-%d %H}" == f"{until:%Y-%m-%d} 12"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"grants": []}, "This field is required"),
        ({"grants": ["images:push"]}, "is not one of the available choices"),
        ({"only_image": "app"}, "no image"),
        ({"only_image": str(uuid4())}, "for everything is for every image"),
        ({"expires_at": "2020-01-01T00:00"}, "This is past"),
        ({"user": str(uuid4())}, "not one of the available choices"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(
    desk: Client, owner: User, values: dict[str, Any], why: str
) -> None:
    answer = desk.post(f"{KEYS}add/", order(owner, **values))
    assert why in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_nobody_gets_a_key_that_would_not_work(desk: Client, owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert "is not active" in desk.post(f"{KEYS}add/", order(owner)).content.decode()


def test_changing_a_key_keeps_its_secret_and_its_scopes(desk: Client, owner: User) -> None:
    key, text = ApiKey.objects.issue(owner, scopes=["images:read"])
    sent = {"label": "renamed", "scopes": '["all"]', "grants": ["all"], **EVERYTHING}
    assert desk.post(f"{KEYS}{key.pk}/change/", sent).status_code == 302
    found = ApiKey.objects.named_by(text)
    assert found is not None
    assert (found.label, found.scopes) == ("renamed", ["images:read"])
    assert audit(key) == ["Changed “owner: renamed” — Changed Label."]


def test_a_key_revoked_meanwhile_stays_so_when_its_label_is_saved(
    desk: Client, owner: User
) -> None:
    key, _ = ApiKey.objects.issue(owner)
    ApiKey.objects.filter(pk=key.pk).revoke()
    form = type("Form", (), {"changed_data": ["label"]})()
    key.label = "late"
    ApiKeyAdmin.save_model(None, None, key, form, change=True)  # type: ignore[arg-type]
    key.refresh_from_db()
    assert (key.label, key.revoked_at is None) == ("late", False)


def test_revoking_asks_first_and_then_the_next_request_is_401(desk: Client, owner: User) -> None:
    key, text = ApiKey.objects.issue(owner, label="laptop")
    caller = Client(headers={"Authorization": text})
    address = f"{KEYS}{key.pk}/revoke/"
    assert address in desk.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert "laptop" in desk.get(address).content.decode()
    assert caller.get("/things/").status_code == 200
    assert desk.post(address).status_code == 302
    assert caller.get("/things/").status_code == 401
    assert audit(key) == ["Changed “owner: laptop” — Revoked: the next request is refused."]
    assert "Nothing to do" in desk.post(address, follow=True).content.decode()
    assert len(audit(key)) == 1
    page = desk.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert address not in page
    assert 'name="_save"' not in page


def test_many_keys_are_revoked_at_once(desk: Client, owner: User) -> None:
    keys = [ApiKey.objects.issue(owner)[0] for _ in range(20)]
    ApiKey.objects.filter(pk=keys[0].pk).update(last_used_at=timezone.now())
    sent = {"action": "revoke", "_selected_action": [str(key.pk) for key in keys]}
    asked = desk.post(KEYS, sent, follow=True)
    assert "Revoke 20 API keys?" in asked.content.decode()
    assert "1 of them was used in the last day." in asked.content.decode()
    assert ApiKey.objects.usable().count() == 20
    done = desk.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    assert "20 API keys revoked." in done.content.decode()
    assert not ApiKey.objects.usable().exists()
    assert LogEntry.objects.count() == 20


def test_a_key_is_found_by_what_is_pasted(desk: Client, owner: User, stranger: User) -> None:
    key, text = ApiKey.objects.issue(owner, label="mine")
    ApiKey.objects.issue(stranger, label="theirs")
    for term in (text, f"cpk_{key.pk.hex}", str(key.pk), "own", "min"):
        page = desk.get(KEYS, {"q": term})
        assert [each.label for each in page.context["cl"].result_list] == ["mine"], term


def test_keys_are_listed_by_state(desk: Client, owner: User) -> None:
    ApiKey.objects.issue(owner, label="good")
    ApiKey.objects.issue(owner, label="old", expires_at=timezone.now() - timedelta(days=1))
    gone, _ = ApiKey.objects.issue(owner, label="gone")
    ApiKey.objects.filter(pk=gone.pk).revoke()
    for state, labels in (("usable", ["good"]), ("expired", ["old"]), ("revoked", ["gone"])):
        found = desk.get(KEYS, {"state": state}).context["cl"].result_list
        assert [each.label for each in found] == labels


def test_the_list_of_keys_costs_no_query_for_each(
    desk: Client, owner: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        ApiKey.objects.issue(owner, label=f"key-{number}")
    with django_assert_max_num_queries(7):
        desk.get(KEYS)


def test_others_see_nothing_of_it(owner: User) -> None:
    key, _ = ApiKey.objects.issue(owner)
    client = Client()
    client.force_login(owner)
    for path in (KEYS, USERS, f"{KEYS}{key.pk}/revoke/", f"{KEYS}add/"):
        assert client.get(path).status_code == 302
        assert client.post(path).status_code == 302
    assert ApiKey.objects.usable().exists()


def test_who_may_only_look_sees_no_way_to_change(owner: User, uncollected: None) -> None:
    key, _ = ApiKey.objects.issue(owner)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    client = Client()
    client.force_login(viewer)
    page = client.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert "revoke/" not in page
    assert 'value="revoke"' not in client.get(KEYS).content.decode()
    for path in (f"{KEYS}{key.pk}/revoke/", f"{KEYS}add/"):
        assert client.post(path).status_code == 403
    assert ApiKey.objects.usable().exists()
