"""Requests to the started registry that want more than they may."""

import pytest

from accounts.models import User
from builds.registry.tokens import WORKER, Signer
from registry_gateway.authorization import END, Head, judge

SIGNER = Signer("a secret", "http://127.0.0.1:8000/registry/token")


def head(*lines: str) -> Head | None:
    return Head.parse("\r\n".join(lines).encode("latin1") + END)


def judged(line: str, token: str = "", *more: str) -> object:
    bearer = [f"Authorization: Bearer {token}"] if token else []
    found = head(line, "Host: x", *bearer, *more)
    assert found is not None
    return judge(found, SIGNER)


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /v2/ HTTP/1.1", "X: y\nAuthorization: Bearer hidden"],
        ["GET /v2/ HTTP/1.1\nHost: x", "X: y"],
        ["GET /v2/ HTTP/1.1", "X: y", " Authorization: folded"],
        ["GET /v2/ HTTP/1.1\rHost: x"],
        ["GET  /v2/ HTTP/1.1"],
        ["GET /v2/"],
        ["GET /v2/ HTTP/2"],
        ["GET /\xe4 HTTP/1.1"],
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_not_read(lines: list[str]) -> None:
    assert head(*lines) is None


def test_a_token_that_is_not_ours_never_reaches_the_registry() -> None:
    strange = Signer("another secret", SIGNER.realm).token(WORKER, {"a/b": ["pull"]})
    for more in ((), (f"authorization: Bearer {SIGNER.token(WORKER, {})}",)):
        told = judged("GET /v2/a/b/manifests/1 HTTP/1.1", strange, *more)
        assert isinstance(told, bytes)
        assert b"authorization" not in told.lower()


def test_each_request_ends_its_connection() -> None:
    told = judged("GET /v2/ HTTP/1.1", "", "Connection: keep-alive", "CONNECTION: x")
    assert told == b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_worker_is_handed_on_as_it_is() -> None:
    told = judged("DELETE /v2/a/b/manifests/x HTTP/1.1", SIGNER.token(WORKER, {}))
    assert isinstance(told, bytes)
    assert b"Authorization: Bearer " in told


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/v2/_catalog",
        "/v2",
        "//v2/owner/app/manifests/1",
        "/v2/owner/../owner/app/manifests/1",
        "/v2/owner/app/manifests/%31",
        "/v2/owner/app/blobs/uploads/1",
        "/v2/owner/app/manifests/1/",
        "http://x/v2/owner/app/manifests/1",
        "/v2/owner/app/manifests/1",
        "/v2/owner/app/tags/list?n=1",
    ],
)
def test_readers_get_nothing_that_they_are_not_known_to_see(path: str, owner: User) -> None:
    for subject in ("", f"owner:{owner.pk}", f"key:{owner.pk}"):
        answer = judged(f"GET {path} HTTP/1.1", SIGNER.token(subject, {"owner/app": ["pull"]}))
        assert isinstance(answer, tuple)
        assert answer[0] == 404
