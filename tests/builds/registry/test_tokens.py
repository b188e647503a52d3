import jwt
import pytest

from builds.registry.tokens import (
    LEEWAY_SECONDS,
    SERVICE,
    TOKEN_SECONDS,
    WORKER,
    BadScope,
    Signer,
    read_scopes,
)

REALM = "http://127.0.0.1:8000/registry/token"
SIGNER = Signer("a secret of fifty characters, or thereabouts", REALM)
OTHER = Signer("another secret", REALM)


def claims(token: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return found


def test_a_token_says_who_may_do_what_where_and_for_how_long() -> None:
    said = claims(SIGNER.token("key:1", {"a/b": {"pull", "push"}, "a/c": set()}))
    assert said["access"] == [{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}]
    assert (said["iss"], said["aud"], said["sub"]) == ("slipway", SERVICE, "key:1")
    assert int(str(said["exp"])) - int(str(said["iat"])) == TOKEN_SECONDS


def test_no_two_tokens_are_the_same() -> None:
    assert claims(SIGNER.token("", {}))["jti"] != claims(SIGNER.token("", {}))["jti"]


def test_every_process_of_a_deployment_has_the_same_certificate_and_no_other_has() -> None:
    assert Signer(SIGNER.secret, "elsewhere").certificate == SIGNER.certificate
    assert OTHER.certificate != SIGNER.certificate
    header = jwt.get_unverified_header(SIGNER.token("", {}))
    assert header["alg"] == "ES256"
    assert "".join(header["x5c"]) in SIGNER.certificate.replace("\n", "")


def test_a_token_is_read_back_by_its_deployment_alone_and_until_it_ends() -> None:
    assert SIGNER.subject_of(SIGNER.token("key:1", {})) == "key:1"
    assert OTHER.subject_of(SIGNER.token("key:1", {})) is None
    assert SIGNER.subject_of(SIGNER.token("key:1", {}, seconds=-LEEWAY_SECONDS - 1)) is None
    assert SIGNER.subject_of("nonsense") is None


def test_a_token_is_no_credential_and_a_credential_no_token() -> None:
    assert SIGNER.named_by(SIGNER.credential(WORKER, seconds=9)) == WORKER
    assert SIGNER.named_by(SIGNER.token(WORKER, {})) is None
    assert SIGNER.subject_of(SIGNER.credential(WORKER, seconds=9)) is None


def test_the_secret_does_not_show() -> None:
    assert SIGNER.secret not in repr(SIGNER)


def test_scopes_are_read_in_every_spelling() -> None:
    text = "repository:a/b:pull,push repository:a/b:delete registry:catalog:* repository(plugin):x:"
    assert read_scopes(text) == {"a/b": {"pull", "push", "delete"}}
    assert read_scopes("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "repository",
        "repository:a/b",
        "a/b:pull",
        "repository:A/B:pull",
        "repository:../x:pull",
        "repository:a//b:pull",
        "repository:a/b:pull;push",
        "::",
        "\0",
    ],
)
def test_what_is_no_scope_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(BadScope, match="is not a scope such as"):
        read_scopes(text)
