"""Signed requests about images: what one signature is good for."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from images.models import Image
from tests.accounts.keypair import Keypair
from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)

KEY = Keypair()


def test_a_list_signature_cannot_delete(send: Send, owner: User) -> None:
    owner.hotkey = KEY.hotkey
    owner.save()
    send()
    client, headers = APIClient(), KEY.headers()
    assert client.get("/images/", **headers).json()["total"] == 1
    answer = client.delete("/images/my-app:1.0", **headers)
    assert answer.status_code == 401
    assert "used before" in answer.json()["detail"]
    assert Image.objects.exists()
    assert client.delete("/images/my-app:1.0", **KEY.headers()).status_code == 200


def test_a_signature_is_spent_by_a_request_that_found_nothing(send: Send, owner: User) -> None:
    owner.hotkey = KEY.hotkey
    owner.save()
    send()
    client = APIClient()
    for path in ("/images/nothing:1", "/images/?page=x", "/images/nothing:1/logs"):
        captured = KEY.headers()
        assert client.get(path, **captured).status_code in {404, 422}
        assert client.delete("/images/my-app:1.0", **captured).status_code == 401
    assert Image.objects.exists()


@pytest.mark.parametrize("nonce", ["²", "1700000000²", "٣"])
def test_digits_that_are_no_number_are_refused_and_no_crash(
    send: Send, owner: User, nonce: str
) -> None:
    owner.hotkey = KEY.hotkey
    owner.save()
    client = APIClient(raise_request_exception=False)
    for ask in (client.get, client.post):
        answer = ask("/images/", **KEY.headers(nonce=nonce))
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid nonce!")


def test_a_refusal_does_not_tell_what_to_sign(send: Send, owner: User) -> None:
    owner.hotkey = KEY.hotkey
    owner.save()
    answer = APIClient().get("/images/", **KEY.headers("something else"))
    assert answer.status_code == 401
    assert answer.json()["detail"] == f"Invalid request signature for hotkey {KEY.hotkey}"


def test_a_signature_of_nothing_fits_its_own_address_alone(send: Send, owner: User) -> None:
    owner.hotkey = KEY.hotkey
    owner.save()
    send()
    client, path = APIClient(), "/images/my-app:1.0/cancel"
    assert client.post(path, **KEY.headers(b"")).status_code == 401
    assert client.post(path, **KEY.headers("POST /images/my-app:1.0/rebuild")).status_code == 401
    assert client.post(path, **KEY.headers("DELETE /images/my-app:1.0/cancel")).status_code == 401
    assert Image.objects.get().state == "queued"
    assert client.post(path, **KEY.headers(f"POST {path}")).status_code == 202
    assert Image.objects.get().state == "cancelled"
