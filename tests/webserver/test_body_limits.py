"""Which routes take a body, and from whom, before any of it is read."""

import json
import time
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import ApiKey, SpentSignature, User
from common.error_codes import CREDENTIALS_MISSING, error_body
from tests.accounts.keypair import Keypair
from webserver.body_limits import SHORT_BYTES, check, check_at_once, limit_of
from webserver.connection import Refusal
from webserver.upload_budget import MEMORY_BYTES, Allowed

KEY = Keypair(1)
ANYWHERE = [
    "/healthz",
    "/",
    "/nowhere",
    "/images/x/logs",
    "/metrics",
    "/registry/token",
    "/ws/images",
]


def plain(headers: dict[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in headers.items()
    }


@pytest.fixture
def signer(db: None) -> User:
    return User.objects.create_user("signer", hotkey=KEY.hotkey)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "MADEUP"])
@pytest.mark.parametrize("path", ANYWHERE)
def test_other_routes_get_few_bytes_from_anybody(method: str, path: str) -> None:
    assert check({}, method, path) == Allowed(MEMORY_BYTES)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("POST", "/images/", settings.MAX_BODY_BYTES),
        ("PATCH", "/images/owner/app:1", 1024 * 1024),
        ("POST", "/logos/", 1024 * 1024),
        ("POST", "/api_keys/", 64 * 1024),
        ("POST", "/admin/images/image/", 1024 * 1024),
    ],
)
def test_routes_that_take_more_ask_for_credentials(method: str, path: str, least: int) -> None:
    limit = limit_of(method, path)
    assert limit is not None
    assert limit >= least
    answer = check({}, method, path)
    assert isinstance(answer, Refusal)
    assert (answer.status, json.loads(answer.body)) == (401, error_body(CREDENTIALS_MISSING))


def test_to_sign_in_takes_no_credentials() -> None:
    assert check({}, "POST", "/admin/login/") == Allowed(MEMORY_BYTES)
    assert check({}, "POST", "/sign-in") == Allowed(MEMORY_BYTES)


@pytest.mark.django_db(transaction=True)
def test_headers_that_may_be_right_are_let_through(signer: User, operator: User) -> None:
    browser = Client()
    browser.login(username="operator", password="operates-everything")
    session = {"cookie": f"a=b; sessionid={browser.cookies['sessionid'].value}"}
    _, text = ApiKey.objects.issue(signer)
    headers = plain(KEY.headers(b"a body that nobody has seen"))
    for good, caller in (
        (headers, f"claimed:{signer.pk}"),
        (headers, f"claimed:{signer.pk}"),
        ({"authorization": f"Bearer {text}"}, f"user:{signer.pk}"),
        (session, f"user:{operator.pk}"),
    ):
        answer = check(good, "POST", "/images/")
        assert isinstance(answer, Allowed)
        assert answer.caller == caller
    assert not SpentSignature.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_headers_that_cannot_be_right_are_refused(signer: User) -> None:
    key, revoked = ApiKey.objects.issue(signer)
    ApiKey.objects.revoke()
    half = plain(KEY.headers())
    del half["x-chutes-signature"]
    for bad, text in (
        ({}, CREDENTIALS_MISSING.text),
        ({"cookie": "sessionid=invented"}, CREDENTIALS_MISSING.text),
        ({"cookie": "sessionid="}, CREDENTIALS_MISSING.text),
        (half, "Missing or invalid"),
        (plain(KEY.headers(nonce="²")), "Invalid nonce!"),
        (plain(KEY.headers(nonce=int(time.time()) - 601)), "Invalid nonce!"),
        (plain(KEY.headers(signature="no")), "Invalid signature"),
        (plain(Keypair(2).headers()), "Could not find user"),
        ({"authorization": f"Bearer {revoked}"}, "Invalid token or user not found"),
        ({"authorization": "Bearer jwt"}, "Invalid token."),
    ):
        answer = check(bad, "POST", "/images/")
        assert isinstance(answer, Refusal), bad
        assert (answer.status, answer.headers) == (
            401,
            [("WWW-Authenticate", 'Bearer realm="slipway"')],
        )
        assert json.loads(answer.body)["detail"].startswith(text)
    assert key.last_used_at is None


@pytest.mark.django_db(transaction=True)
def test_a_short_body_of_a_known_key_is_let_through_without_asking_the_database(
    signer: User, django_assert_num_queries: Any
) -> None:
    _, text = ApiKey.objects.issue(signer)
    known = {"authorization": f"Bearer {text}", "content-length": "1000"}
    unknown = known | {"authorization": f"Bearer {text[:-1]}{'a' if text[-1] != 'a' else 'b'}"}
    assert check_at_once(known, "POST", "/images/") is None
    check(known, "POST", "/images/")
    with django_assert_num_queries(0):
        allowed = Allowed(SHORT_BYTES, f"user:{signer.pk}")
        assert check_at_once(known, "POST", "/images/") == allowed
        assert check_at_once({}, "POST", "/healthz") == Allowed(MEMORY_BYTES)
        for others in (
            {},
            unknown,
            {"content-length": "1000", "cookie": "sessionid=x"},
            plain(KEY.headers(b"x")) | {"content-length": "1000"},
            known | plain(KEY.headers(b"x")),
            {"authorization": f"Bearer {text}"},
            known | {"content-length": str(SHORT_BYTES + 1)},
            known | {"content-length": "1000,1000"},
        ):
            assert check_at_once(others, "POST", "/images/") is None, others
    ApiKey.objects.revoke()
    assert check_at_once(known, "POST", "/images/") is None


@pytest.mark.django_db(transaction=True)
def test_a_quota_that_is_used_up_is_told_before_the_body_is_taken(signer: User) -> None:
    signer.daily_build_limit = 0
    signer.save()
    _, text = ApiKey.objects.issue(signer)
    answer = check({"authorization": f"Bearer {text}"}, "POST", "/images/")
    assert isinstance(answer, Refusal)
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (429, "86400")
    assert "0 builds per 24 hours" in json.loads(answer.body)["detail"]
    # Whoever only names somebody's hotkey is not told how much of a quota is left.
    assert isinstance(check(plain(KEY.headers(b"unseen")), "POST", "/images/"), Allowed)
    assert isinstance(check({"authorization": f"Bearer {text}"}, "POST", "/api_keys/"), Allowed)
