import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey, User
from tests.accounts.keypair import Keypair

pytestmark = pytest.mark.django_db
HOTKEY = Keypair().hotkey


def run(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def test_create_user_prints_the_user_as_json() -> None:
    said = json.loads(run("create_user", "somebody", "--hotkey", HOTKEY))
    user = User.objects.get()
    assert said == {
        "user_id": str(user.pk),
        "username": "somebody",
        "hotkey": HOTKEY,
        "is_staff": False,
        "created_at": said["created_at"],
    }
    assert said["created_at"].endswith("Z")
    assert not user.has_usable_password()


def test_create_user_makes_operators() -> None:
    assert json.loads(run("create_user", "somebody", "--staff"))["is_staff"] is True
    user = User.objects.get()
    assert user.is_staff
    assert [group.name for group in user.groups.all()] == ["operator"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["ab"], "3 to 32"),
        (["OWNER"], "exists"),
        (["somebody", "--hotkey", "5abc"], "ss58"),
    ],
)
def test_create_user_says_what_is_wrong(owner: User, command: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        run("create_user", *command)
    assert User.objects.count() == 1


def test_create_api_key_prints_the_key_and_nothing_else(owner: User) -> None:
    said = run("create_api_key", "owner")
    key = ApiKey.objects.named_by(said.removesuffix("\n"))
    assert key is not None
    assert (key.user, key.label, key.scopes) == (owner, "", ["all"])


def test_create_api_key_takes_label_and_scopes(owner: User) -> None:
    run(
        "create_api_key", "owner", "--label", "ci", "--scope", "images:read", "--scope=images:write"
    )
    key = ApiKey.objects.get()
    assert (key.label, key.scopes) == ("ci", ["images:read", "images:write"])


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["nobody"], "no user 'nobody'"),
        (["owner", "--scope", "image:read"], "'image:read' is no scope"),
        (["owner", "--label", "x" * 81], "80 characters"),
    ],
)
def test_create_api_key_says_what_is_wrong(owner: User, command: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        run("create_api_key", *command)
    assert not ApiKey.objects.exists()
