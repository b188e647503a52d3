import re

import pytest
from django.test import Client

from accounts.models import ApiKey, User
from tests.accounts.keypair import Keypair

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.accounts.site")]
KEYS, USERS = "/admin/accounts/apikey/", "/admin/accounts/user/"


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
    answer = desk.post(f"{USERS}{owner.pk}/change/", {**sent, "is_active": "on"})
    assert answer.status_code == 302
    owner.refresh_from_db()
    assert (owner.username, owner.daily_build_limit) == ("owner", 3)
    assert owner.hotkey == Keypair().hotkey
    assert desk.post(f"{USERS}{owner.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_key_is_shown_once(desk: Client, owner: User) -> None:
    sent = {"user": str(owner.pk), "label": "ci", "scopes": '["images:read"]'}
    answer = desk.post(f"{KEYS}add/", sent, follow=True)
    found = re.search(r"cpk_\w+\.\w+\.\w+", answer.content.decode())
    assert found
    key = ApiKey.objects.named_by(found[0])
    assert key is not None
    assert (key.user, key.label, key.scopes) == (owner, "ci", ["images:read"])
    secret = found[0][-32:]
    for path in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/"):
        page = desk.get(path).content.decode()
        assert "ci" in page
        assert secret not in page
        assert key.digest not in page


def test_changing_a_key_keeps_its_secret_and_its_scopes(desk: Client, owner: User) -> None:
    key, text = ApiKey.objects.issue(owner, scopes=["images:read"])
    sent = {"label": "renamed", "scopes": '["all"]', "expires_at_0": "", "expires_at_1": ""}
    assert desk.post(f"{KEYS}{key.pk}/change/", sent).status_code == 302
    found = ApiKey.objects.named_by(text)
    assert found is not None
    assert (found.label, found.scopes) == ("renamed", ["images:read"])


def test_a_wrong_scope_is_refused(desk: Client, owner: User) -> None:
    answer = desk.post(f"{KEYS}add/", {"user": str(owner.pk), "scopes": '["images:push"]'})
    assert "is no scope" in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_keys_are_revoked(desk: Client, owner: User) -> None:
    key, text = ApiKey.objects.issue(owner)
    sent = {"action": "revoke", "_selected_action": str(key.pk)}
    assert desk.post(KEYS, sent).status_code == 302
    assert ApiKey.objects.named_by(text) is None


def test_others_see_nothing_of_it(owner: User) -> None:
    client = Client()
    client.force_login(owner)
    for path in (KEYS, USERS):
        assert client.get(path).status_code == 302
