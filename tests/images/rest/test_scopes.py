"""What API keys with scopes may do with images."""

from typing import Any
from uuid import UUID

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from images.models import Image
from tests.conftest import script
from tests.images.conftest import Send, built, form

pytestmark = pytest.mark.django_db(transaction=True)


def key(user: User, *scopes: str) -> APIClient:
    client = APIClient()
    _, text = ApiKey.objects.issue(user, label="scoped", scopes=list(scopes))
    client.credentials(HTTP_AUTHORIZATION=text)
    return client


def test_a_key_for_reading_reads_and_changes_nothing(send: Send, owner: User) -> None:
    image_id = send().json()["image_id"]
    reader = key(owner, "images:read")
    spellings = [image_id, "my-app:1.0", f"{owner.username}/my-app:1.0", "my-app"]
    for path in ("/images/", *(f"/images/{spelling}" for spelling in spellings)):
        assert reader.get(path).status_code == 200, path
    for spelling in spellings:
        assert reader.delete(f"/images/{spelling}").status_code == 401
    answer: Any = reader.get("/images/my-app:1.0/logs")
    assert answer.status_code == 200
    answer.close()
    data = form(owner.username, name="other-app")
    assert reader.post("/images/", data, format="multipart").status_code == 401
    assert Image.objects.count() == 1


def test_a_key_for_building_builds_and_reads_nothing(send: Send, owner: User) -> None:
    builder = key(owner, "images:write")
    assert builder.post("/images/", form(owner.username), format="multipart").status_code == 202
    for path in ("/images/", "/images/my-app:1.0", "/images/my-app:1.0/logs"):
        assert builder.get(path).status_code == 401, path
    assert builder.delete("/images/my-app:1.0").status_code == 401


def test_a_key_for_one_image_opens_it_in_every_spelling_and_no_other(
    send: Send, owner: User
) -> None:
    mine, other = (send(name=name).json()["image_id"] for name in ("my-app", "other-app"))
    bound = key(owner, f"images:read:{mine}", f"images:delete:{mine}")
    for spelling in (mine, "my-app:1.0", f"{owner.username}/my-app:1.0"):
        assert bound.get(f"/images/{spelling}").status_code == 200, spelling
    for spelling in (other, "other-app:1.0", f"{owner.username}/other-app:1.0"):
        assert bound.get(f"/images/{spelling}").status_code == 401, spelling
        assert bound.delete(f"/images/{spelling}").status_code == 401, spelling
    assert bound.get("/images/").status_code == 401
    assert bound.delete("/images/my-app:1.0").status_code == 200


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
