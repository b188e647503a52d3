"""What an operator who is no superuser cannot do: give, or take over, a right that they lack."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts import rights
from accounts.models import ApiKey, User
from tests.accounts.keypair import Keypair

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.accounts.site")]
KEYS, USERS = "/admin/accounts/apikey/", "/admin/accounts/user/"
TICKED = {"is_active": "on", "is_staff": "on", "is_superuser": "on"}
NEW = {"usable_password": "true", "password1": "taken-over-now", "password2": "taken-over-now"}


def permission(codename: str) -> Permission:
    return Permission.objects.get(codename=codename)


@pytest.fixture
def auditor(keeper: User) -> User:
    """Another operator, with one right that the keeper lacks."""
    user = User.objects.create_user("auditor", password="audits-what-others-keep", is_staff=True)
    user.user_permissions.add(permission("delete_logentry"))
    return user


@pytest.fixture
def powers(keeper: User) -> Group:
    group = Group.objects.create(name="powers")
    group.permissions.add(permission("view_image"), permission("delete_logentry"))
    return group


def change(counter: Client, user: User, **values: Any) -> Any:
    share = {"queue_priority": "0", "queue_weight": "1"}
    return counter.post(f"{USERS}{user.pk}/change/", {"hotkey": "", **share, **values})


def test_they_change_what_their_group_is_for(counter: Client, owner: User) -> None:
    assert change(counter, owner, is_active="on", daily_build_limit="7").status_code == 302
    owner.refresh_from_db()
    assert owner.daily_build_limit == 7
    assert change(counter, owner).status_code == 302
    owner.refresh_from_db()
    assert not owner.is_active


def test_they_make_operators_like_themselves(counter: Client, owner: User) -> None:
    group = Group.objects.get(name=rights.OPERATORS)
    assert change(counter, owner, **TICKED, groups=[str(group.pk)]).status_code == 302
    owner = User.objects.get(pk=owner.pk)
    assert owner.has_perm("images.delete_image")
    assert not owner.is_superuser


def test_they_make_nobody_a_superuser(counter: Client, keeper: User, owner: User) -> None:
    for user in (owner, keeper):
        assert change(counter, user, **TICKED).status_code == 302
        user.refresh_from_db()
        assert not user.is_superuser


def test_they_change_nothing_of_a_superuser(counter: Client, operator: User) -> None:
    page = counter.get(f"{USERS}{operator.pk}/change/")
    assert 'name="_save"' not in page.content.decode()
    sent = {"hotkey": Keypair().hotkey, "is_active": ""}
    assert change(counter, operator, **sent).status_code == 403
    assert counter.post(f"{USERS}{operator.pk}/password/", NEW).status_code == 403
    operator.refresh_from_db()
    assert (operator.hotkey, operator.is_active) == (None, True)
    assert operator.check_password("operates-everything")


def test_they_change_nothing_of_who_has_more_rights(counter: Client, auditor: User) -> None:
    for active in (True, False):  # what is inactive now may be active tomorrow
        User.objects.filter(pk=auditor.pk).update(is_active=active)
        assert change(counter, auditor, is_active="on").status_code == 403
        assert counter.post(f"{USERS}{auditor.pk}/password/", NEW).status_code == 403
    auditor.refresh_from_db()
    assert not auditor.is_active
    assert auditor.check_password("audits-what-others-keep")


def test_they_give_no_right_that_they_lack(counter: Client, owner: User, powers: Group) -> None:
    delete = permission("delete_logentry")
    page = counter.get(f"{USERS}{owner.pk}/change/").content.decode()
    assert "powers" not in page
    change(counter, owner, **TICKED, groups=[str(powers.pk)], user_permissions=[str(delete.pk)])
    owner = User.objects.get(pk=owner.pk)
    assert owner.get_all_permissions() == set()


def test_they_do_not_change_their_own_rights(counter: Client, keeper: User, powers: Group) -> None:
    before = keeper.get_all_permissions()
    delete = permission("delete_logentry")
    sent = {**TICKED, "groups": [str(powers.pk)], "user_permissions": [str(delete.pk)]}
    assert change(counter, keeper, **sent, daily_build_limit="9").status_code == 302
    keeper = User.objects.get(pk=keeper.pk)
    assert keeper.daily_build_limit == 9
    assert keeper.get_all_permissions() == before
    assert keeper.is_active


def test_a_superuser_does_not_lock_themselves_out(desk: Client, operator: User) -> None:
    assert change(desk, operator).status_code == 302
    operator.refresh_from_db()
    assert operator.is_active
    assert operator.is_superuser


def test_they_issue_keys_for_people_within_their_reach(
    counter: Client, owner: User, operator: User, auditor: User
) -> None:
    sent = {
        "label": "",
        "grants": ["all"],
        "only_image": "",
        "expires_at_0": "",
        "expires_at_1": "",
    }
    for user, issued in ((owner, True), (operator, False), (auditor, False)):
        values = {**sent, "user": str(user.pk), "key_id": str(uuid4())}
        page = counter.post(f"{KEYS}add/", values).content.decode()
        assert ("cpk_" in page) is issued
        assert ("has rights that you lack" in page) is not issued
    assert [key.user for key in ApiKey.objects.all()] == [owner]


def test_they_neither_change_nor_revoke_the_key_of_a_superuser(
    counter: Client, owner: User, operator: User
) -> None:
    key, text = ApiKey.objects.issue(operator, label="root")
    own, _ = ApiKey.objects.issue(owner)
    sent = {"label": "taken", "expires_at": ""}
    assert counter.post(f"{KEYS}{key.pk}/change/", sent).status_code == 403
    answer = counter.post(f"{KEYS}{key.pk}/revoke/", follow=True)
    assert "operator has rights that you lack" in answer.content.decode()
    many = {"action": "revoke", "_selected_action": [str(key.pk), str(own.pk)]}
    asked = counter.post(KEYS, many, follow=True)
    done = counter.post(asked.redirect_chain[-1][0], {"confirm": "yes"}, follow=True)
    assert "operator has rights that you lack" in done.content.decode()
    assert ApiKey.objects.named_by(text) is not None
    assert ApiKey.objects.usable().get() == key


def test_they_see_what_their_group_is_for_and_nothing_else(counter: Client) -> None:
    page = counter.get("/admin/").content.decode()
    for name in ("accounts/user", "accounts/apikey", "images/image", "builds/build"):
        assert f"/admin/{name}/" in page
    assert "/admin/auth/" not in page
    assert counter.get("/admin/auth/group/").status_code == 403
