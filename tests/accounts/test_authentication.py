import threading
import time
from typing import Any
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, RequestFactory
from django.test.client import BOUNDARY, encode_multipart

from accounts.authentication import body_digest
from accounts.models import ApiKey, SpentSignature, User
from tests.accounts.keypair import Keypair

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.accounts.site")]

ONE, OTHER = UUID(int=1), UUID(int=2)
KEY = Keypair()
FORM = f"multipart/form-data; boundary={BOUNDARY}"
NOBODY = "Can't find a user with that api key in our db :("


@pytest.fixture
def signer(owner: User) -> User:
    owner.hotkey = KEY.hotkey
    owner.save()
    return owner


def refused(answer: Any, text: str) -> bool:
    assert answer.status_code == 401, answer.content
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="slipway"')
    return bool(answer.json()["detail"].startswith(text))


def form(**files: bytes) -> bytes:
    return encode_multipart(
        BOUNDARY, {name: SimpleUploadedFile(name, data) for name, data in files.items()}
    )


# Signatures


def test_a_signed_purpose_opens_requests_without_a_body(client: Client, signer: User) -> None:
    for ask in (client.get, client.delete):
        answer = ask("/things/", **KEY.headers("images"))
        assert (answer.status_code, answer.json()["user"]) == (200, "owner")
    assert client.head("/things/", **KEY.headers("images")).status_code == 200


def test_a_signed_body_opens_requests_with_one(client: Client, signer: User) -> None:
    body = form(context=b"zip" * 1000)
    answer = client.post("/things/", body, FORM, **KEY.headers(body))
    assert answer.status_code == 200
    assert answer.json() == {"user": "owner", "files": {"context": 3000}}
    assert client.post("/plain/", body, FORM, **KEY.headers(body)).status_code == 200


def test_a_wrapped_signature_opens_too(client: Client, signer: User) -> None:
    nonce = int(time.time())
    signature = KEY.sign(f"<Bytes>{KEY.hotkey}:{nonce}:images</Bytes>").hex()
    answer = client.get("/things/", **KEY.headers(nonce=nonce, signature=signature))
    assert answer.status_code == 200


def test_a_signature_is_for_its_own_content(client: Client, signer: User) -> None:
    text = f"Invalid request signature for hotkey {KEY.hotkey}"
    body = form(context=b"zip")
    send = {"content_type": FORM}
    for answer in (
        client.get("/things/", **KEY.headers("me")),
        client.get("/things/", **KEY.headers(b"")),
        client.post("/things/", body, **send, **KEY.headers("images")),
        client.post("/things/", body, **send, **KEY.headers(body + b" ")),
        client.get("/things/", **(KEY.headers() | Keypair(2).headers(hotkey=KEY.hotkey))),
    ):
        assert refused(answer, text)
        assert answer.json()["detail"] == text  # and no word of the message expected


def test_a_view_without_a_purpose_takes_no_signed_get(client: Client, signer: User) -> None:
    for content in ("", "None", "images", b""):
        assert refused(client.get("/plain/", **KEY.headers(content)), "Missing or invalid")


@pytest.mark.parametrize("age", [-700, -601, 601, 700])
def test_a_nonce_from_too_far_away_is_refused(client: Client, signer: User, age: int) -> None:
    answer = client.get("/things/", **KEY.headers(nonce=int(time.time()) + age))
    assert refused(answer, "Invalid nonce!")


@pytest.mark.parametrize("age", [-590, 590])
def test_clocks_may_differ(client: Client, signer: User, age: int) -> None:
    nonce = int(time.time()) + age
    assert client.get("/things/", **KEY.headers(nonce=nonce)).status_code == 200
    until = SpentSignature.objects.get().expires_at.timestamp()
    assert until == nonce + 600


@pytest.mark.parametrize("nonce", ["", "now", "1e9", "-1", " ", "²", "١٢٣", "9" * 5000, "1.5"])
def test_a_nonce_that_is_no_number_is_refused(client: Client, signer: User, nonce: str) -> None:
    headers = KEY.headers() | {"HTTP_X_CHUTES_NONCE": nonce}
    assert refused(client.get("/things/", **headers), "Invalid nonce!")


@pytest.mark.parametrize("signature", ["x", "0x" + "00" * 64, "0", "é" * 128])
def test_a_signature_that_is_not_hexadecimal_is_refused(
    client: Client, signer: User, signature: str
) -> None:
    answer = client.get("/things/", **KEY.headers(signature=signature))
    assert refused(answer, "Invalid signature: ")


@pytest.mark.parametrize("signature", ["00", "00" * 64, "ff" * 64, "00" * 63 + "80", "00" * 65])
def test_a_signature_that_is_none_is_refused(client: Client, signer: User, signature: str) -> None:
    answer = client.get("/things/", **KEY.headers(signature=signature))
    assert refused(answer, "Invalid request signature")


def test_the_zero_key_is_nobody(client: Client, owner: User) -> None:
    zero = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
    User.objects.filter(pk=owner.pk).update(hotkey=zero)
    answer = client.get("/things/", **KEY.headers(hotkey=zero, signature="00" * 63 + "80"))
    assert refused(answer, "Invalid request signature")


def test_a_signature_is_good_once_however_it_is_spelled(client: Client, signer: User) -> None:
    headers = KEY.headers()
    assert client.get("/things/", **headers).status_code == 200
    signature = headers["HTTP_X_CHUTES_SIGNATURE"]
    for again in (signature, signature.upper(), signature[:2] + " " + signature[2:]):
        headers["HTTP_X_CHUTES_SIGNATURE"] = again
        assert refused(client.get("/things/", **headers), "This signature was used before")
        assert refused(client.delete("/things/", **headers), "This signature was used before")


def test_a_signature_that_was_refused_is_not_spent(client: Client, signer: User) -> None:
    body = form(context=b"zip")
    headers = KEY.headers(body)
    assert client.get("/things/", **headers).status_code == 401
    assert client.post("/things/", body, FORM, **headers).status_code == 200


def test_a_hotkey_of_nobody_is_refused(client: Client, signer: User) -> None:
    other = Keypair(2)
    text = f"Could not find user with hotkey: {other.hotkey}"
    assert refused(client.get("/things/", **other.headers()), text)
    signer.is_active = False
    signer.save()
    assert refused(client.get("/things/", **KEY.headers()), "Could not find user")
    assert not SpentSignature.objects.exists()


def test_half_a_signature_is_refused_unless_there_is_a_key(client: Client, signer: User) -> None:
    for missing in ("HTTP_X_CHUTES_HOTKEY", "HTTP_X_CHUTES_SIGNATURE"):
        headers = KEY.headers()
        del headers[missing]
        assert refused(client.get("/things/", **headers), "Missing or invalid authorization")
        assert refused(client.get(f"/things/{ONE}/logs", **headers), "Missing or invalid")
        headers["HTTP_AUTHORIZATION"] = ApiKey.objects.issue(signer)[1]
        assert client.get("/things/", **headers).status_code == 200


def test_a_signature_goes_before_a_key(client: Client, signer: User, stranger: User) -> None:
    key = {"HTTP_AUTHORIZATION": ApiKey.objects.issue(stranger)[1]}
    assert client.get("/things/", **KEY.headers(), **key).json()["user"] == "owner"
    assert client.get("/things/", **KEY.headers("me"), **key).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_with_one_signature_one_gets_in(signer: User) -> None:
    headers = KEY.headers()
    together = threading.Barrier(2)
    answers: list[int] = []

    def ask() -> None:
        together.wait()
        answers.append(Client().get("/things/", **headers).status_code)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(answers) == [200, 401]


def test_the_servers_digest_is_taken_where_there_is_one() -> None:
    request: Any = RequestFactory().post("/", b"body", "text/plain")
    assert body_digest(request).startswith("230d8358")

    class Body:
        def sha256(self) -> str:
            return "of the spool"

    request.META["slipway.body"] = Body()
    assert body_digest(request) == "of the spool"
    forged: Any = RequestFactory().post("/", b"body", "text/plain", HTTP_SLIPWAY_BODY="forged")
    assert body_digest(forged).startswith("230d8358")


# API keys


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer ", "Basic ", "Token  ", "any words "])
def test_a_key_opens_under_any_scheme(client: Client, owner: User, scheme: str) -> None:
    key, text = ApiKey.objects.issue(owner)
    answer = client.get("/things/", HTTP_AUTHORIZATION=scheme + text)
    assert (answer.status_code, answer.json()["user"]) == (200, "owner")
    assert ApiKey.objects.get(pk=key.pk).last_used_at is not None


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Bearer eyJhbGciOi.x.y", "Invalid token."),
        ("Bearer", "Invalid token."),
        ("Basic dTpw", "Missing or invalid authorization header(s)"),
        ("words", "Missing or invalid authorization header(s)"),
        ("Bearer cpk_", "Invalid token or user not found"),
        ("cpk_" + "0" * 98, "Invalid token or user not found"),
        (f"cpk_{'0' * 32}.{'0' * 32}.{'a' * 32}", "Invalid token or user not found"),
        (f"cpk_{'²' * 32}.{'0' * 32}.{'a' * 32}", "Invalid token or user not found"),
    ],
)
def test_what_is_no_key_is_refused(client: Client, owner: User, header: str, text: str) -> None:
    for path in ("/things/", f"/things/{ONE}/logs"):
        assert refused(client.get(path, HTTP_AUTHORIZATION=header), text)


def test_a_revoked_key_ends_at_once(client: Client, owner: User) -> None:
    key, text = ApiKey.objects.issue(owner)
    assert client.get("/things/", HTTP_AUTHORIZATION=text).status_code == 200
    ApiKey.objects.filter(pk=key.pk).revoke()
    assert refused(client.get("/things/", HTTP_AUTHORIZATION=text), "Invalid token or user")


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["all"], "list create remove one write drop plain"),
        (["images:read"], "list one"),
        (["images:write"], "create write"),
        (["images:delete"], "remove drop"),
        (["images:read", "images:write"], "list create one write"),
        ([f"images:read:{ONE}"], "one"),
        ([f"images:write:{ONE}", f"images:delete:{OTHER}"], "write"),
        ([f"images:delete:{ONE}"], "drop"),
        ([f"images:read:{OTHER}"], ""),
    ],
)
def test_a_key_does_what_its_scopes_say(
    client: Client, owner: User, scopes: list[str], allowed: str
) -> None:
    _, text = ApiKey.objects.issue(owner, scopes=scopes)
    client.defaults["HTTP_AUTHORIZATION"] = text
    answers = {
        "list": client.get("/things/"),
        "create": client.post("/things/"),
        "remove": client.delete("/things/"),
        "one": client.get(f"/things/{ONE}"),
        "write": client.post(f"/things/{ONE}"),
        "drop": client.delete(f"/things/{ONE}"),
        "plain": client.get("/plain/"),
    }
    got_in = [name for name, answer in answers.items() if answer.status_code == 200]
    assert got_in == allowed.split()
    for name in set(answers) - set(got_in):
        action = {"remove": "delete", "drop": "delete", "list": "read", "one": "read"}
        needed = "all" if name == "plain" else f"images:{action.get(name, 'write')}"
        assert refused(answers[name], f"This API key lacks the scope {needed}")
        assert answers[name].json()["code"] == "insufficient_scope"
        challenge = f'Bearer realm="slipway", error="insufficient_scope", scope="{needed}"'
        assert answers[name].headers["WWW-Authenticate"] == challenge


# Sessions and nobody


def test_a_session_opens_and_needs_its_csrf_token_to_change(operator: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.login(username="operator", password="operates-everything")
    assert browser.get("/things/").json()["user"] == "operator"
    answer = browser.post("/things/")
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("CSRF Failed")
    browser.cookies["csrftoken"] = token = "a" * 32
    answer = browser.post(
        "/things/", {"context": SimpleUploadedFile("c", b"zip")}, HTTP_X_CSRFTOKEN=token
    )
    assert (answer.status_code, answer.json()["files"]) == (200, {"context": 3})


def test_wrong_credentials_are_wrong_even_with_a_session(operator: User) -> None:
    browser = Client()
    browser.login(username="operator", password="operates-everything")
    assert browser.get("/things/", HTTP_AUTHORIZATION="words").status_code == 401


def test_without_credentials_one_is_nobody(client: Client) -> None:
    assert refused(client.get("/things/"), NOBODY)
    assert refused(client.post("/things/"), NOBODY)
    assert refused(client.get(f"/things/{ONE}", HTTP_AUTHORIZATION=" "), NOBODY)


def test_nobody_may_do_what_the_view_says(client: Client, signer: User) -> None:
    assert client.get(f"/things/{ONE}/logs").json() == {"user": ""}
    assert client.get(f"/things/{ONE}/logs", **KEY.headers()).json() == {"user": "owner"}
    stale = KEY.headers(nonce=1)
    assert refused(client.get(f"/things/{ONE}/logs", **stale), "Invalid nonce!")
    assert refused(client.get(f"/things/{ONE}/logs", **KEY.headers("me")), "Invalid request")


def test_a_hotkey_of_nobody_is_nobody_where_nobody_may_read(client: Client, signer: User) -> None:
    other = Keypair(2)
    answer = client.get(f"/things/{ONE}/logs", **other.headers())
    assert (answer.status_code, answer.json()) == (200, {"user": ""})
    assert refused(client.get(f"/things/{ONE}/logs", **other.headers("me")), "Invalid request")
