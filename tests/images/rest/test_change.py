from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from images.models import Image
from tests.images.conftest import Send, client_of

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/images/my-app:1.0"


def change(client: APIClient, path: str = PATH, **values: Any) -> Any:
    return client.patch(path, values, format="json")


def test_only_what_is_sent_changes(api: APIClient, send: Send) -> None:
    send(readme="old")
    answer = change(api, readme="new")
    assert answer.status_code == 200
    assert (answer.json()["readme"], answer.json()["public"]) == ("new", False)
    answer = change(api, public=True)
    assert (answer.json()["readme"], answer.json()["public"]) == ("new", True)
    assert change(api).json() == answer.json()


def test_only_operators_protect(api: APIClient, send: Send, operator: User, owner: User) -> None:
    send()
    answer = change(api, protected=True)
    assert answer.status_code == 401
    assert "operators" in answer.json()["detail"]
    assert not Image.objects.get().protected
    theirs = APIClient()
    theirs.force_login(operator)
    path = f"/images/{owner.username}/my-app:1.0"
    assert change(theirs, path, protected=True).json()["protected"] is True
    assert api.delete(PATH).status_code == 409
    assert change(theirs, path, protected=False).json()["protected"] is False
    assert api.delete(PATH).status_code == 200


def test_operators_need_the_right_and_a_session(
    send: Send, operator: User, keeper: User, stranger: User, owner: User
) -> None:
    send()
    path = f"/images/{owner.username}/my-app:1.0"
    User.objects.filter(pk=stranger.pk).update(is_staff=True)
    without_right = APIClient()
    without_right.force_login(User.objects.get(pk=stranger.pk))
    for client in (without_right, client_of(operator), client_of(keeper)):
        assert change(client, path, public=True).status_code == 404
        assert not Image.objects.get().public
    for user in (operator, keeper):
        signed_in = APIClient()
        signed_in.force_login(user)
        assert change(signed_in, path, public=True).json()["public"] is True
        Image.objects.update(public=False)


def test_staff_without_the_right_protect_nothing_of_their_own(
    api: APIClient, send: Send, owner: User
) -> None:
    send()
    User.objects.filter(pk=owner.pk).update(is_staff=True)
    assert change(api, protected=True).status_code == 401
    assert not Image.objects.get().protected


def test_nobody_describes_what_is_somebody_elses(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send(public="true")
    path = f"/images/{owner.username}/my-app:1.0"
    assert change(strangers_api, path, readme="mine now").status_code == 404
    assert change(APIClient(), path, readme="mine now").status_code == 401
    assert Image.objects.get().readme == ""


def test_all_wrong_values_are_named_together(api: APIClient, send: Send) -> None:
    send()
    answer = change(api, readme=3, public="true", protected=None)
    assert answer.status_code == 422
    assert [(each["loc"], each["type"], each["input"]) for each in answer.json()["detail"]] == [
        (["body", "readme"], "string_type", 3),
        (["body", "public"], "bool_type", "true"),
        (["body", "protected"], "value_error", None),
    ]
    assert change(api, readme="a\0b").status_code == 422
    assert Image.objects.get().readme == ""


def test_what_other_keys_say_is_refused(api: APIClient, send: Send) -> None:
    send()
    answer = change(api, name="other", owner_id=3)
    assert answer.status_code == 422
    locations = [each["loc"] for each in answer.json()["detail"]]
    assert locations == [["body", "name"], ["body", "owner_id"]]
    assert Image.objects.get().name == "my-app"
