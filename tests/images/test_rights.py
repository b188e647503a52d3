"""What a signature or a key opens among images: each operation asks for its own right."""

from typing import Any
from uuid import UUID

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from images.models import Image
from tests.accounts.keypair import Keypair
from tests.conftest import script
from tests.images.conftest import Send, built, form

pytestmark = pytest.mark.django_db(transaction=True)

SIGNER = Keypair()
OTHER = UUID(int=7)


def ask_everything(client: APIClient, username: str, ref: str) -> dict[str, int]:
    """The status of each operation, the harmless ones first."""
    new = form(username, name="another-app")
    return {
        "list": client.get("/images/").status_code,
        "get": client.get(f"/images/{ref}").status_code,
        "builds": client.get(f"/images/{ref}/builds").status_code,
        "logs": client.get(f"/images/{ref}/logs").status_code,
        "create": client.post("/images/", new, format="multipart").status_code,
        "change": client.patch(f"/images/{ref}", {"readme": "r"}, format="json").status_code,
        "cancel": client.post(f"/images/{ref}/cancel").status_code,
        "rebuild": client.post(f"/images/{ref}/rebuild").status_code,
        "delete": client.delete(f"/images/{ref}").status_code,
    }


ALL = {
    "list": 200,
    "get": 200,
    "builds": 200,
    "logs": 200,
    "create": 202,
    "change": 200,
    "cancel": 409,
    "rebuild": 202,
    "delete": 200,
}


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["all"], "list get builds logs create change cancel rebuild delete"),
        (["images:read"], "list get builds logs"),
        (["images:write"], "create change cancel rebuild"),
        (["images:delete"], "delete"),
        (["images:read:{}"], "get builds logs"),
        (["images:write:{}"], "change cancel rebuild"),
        (["images:delete:{}", f"images:read:{OTHER}"], "delete"),
        ([f"images:{action}:{OTHER}" for action in ("read", "write", "delete")], ""),
    ],
)
def test_a_key_opens_what_its_scopes_name_and_nothing_else(
    send: Send, owner: User, scopes: list[str], allowed: str
) -> None:
    image = built(send(dockerfile=script("echo hello")))
    named = [scope.format(image.pk) for scope in scopes]
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=ApiKey.objects.issue(owner, scopes=named)[1])
    found = ask_everything(client, owner.username, "my-app:1.0")
    assert found == {name: ALL[name] if name in allowed.split() else 401 for name in ALL}


def test_a_signature_that_listed_cannot_delete(send: Send, owner: User) -> None:
    owner.hotkey = SIGNER.hotkey
    owner.save()
    send()
    client = APIClient()
    captured: dict[str, Any] = SIGNER.headers("images")
    assert client.get("/images/", **captured).status_code == 200
    assert client.delete("/images/my-app:1.0", **captured).status_code == 401
    assert Image.objects.exists()


def test_a_signature_is_spent_by_a_request_that_found_nothing(send: Send, owner: User) -> None:
    owner.hotkey = SIGNER.hotkey
    owner.save()
    send()
    client = APIClient()
    for path in ("/images/nothing:1", "/images/?page=x", "/images/nothing:1/logs"):
        captured: dict[str, Any] = SIGNER.headers("images")
        assert client.get(path, **captured).status_code in {404, 422}
        assert client.delete("/images/my-app:1.0", **captured).status_code == 401
    assert Image.objects.exists()
