"""`/registry/token`, and what it grants to whom."""

import base64
from dataclasses import replace
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from builds import reaper
from builds.conf import BuildSettings
from builds.models import Build
from builds.registry import make_registry, make_signer
from builds.registry.tokens import WORKER
from images import catalog
from images.models import Image
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)

SCOPE = "repository:owner/my-app:pull"


@pytest.fixture
def key(owner: User) -> str:
    return ApiKey.objects.issue(owner)[1]


@pytest.fixture
def strangers_key(stranger: User) -> str:
    return ApiKey.objects.issue(stranger)[1]


@pytest.fixture(params=[True, False], ids=["guarded", "unguarded"])
def guarded(request: Any, settings: Any, deployment: BuildSettings) -> bool:
    settings.BUILDS = replace(deployment, registry_guarded=request.param)
    return bool(request.param)


def basic(name: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"HTTP_AUTHORIZATION": f"Basic {pair}"}


def ask(scope: str | list[str] = SCOPE, **headers: str) -> Any:
    query = {"service": "slipway", "scope": scope}
    return APIClient().get("/registry/token", query, **headers)  # type: ignore[arg-type]


def granted(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200, answer.content
    assert answer.json()["token"] == answer.json()["access_token"]
    claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    return {each["name"]: each["actions"] for each in claims["access"]}


def test_a_private_image_is_pulled_by_its_owner_alone(
    send: Send, key: str, strangers_key: str, guarded: bool
) -> None:
    built(send())
    assert granted(ask(**basic("owner", key))) == {"owner/my-app": ["pull"]}
    assert granted(ask(**basic("OWNER", key))) == {"owner/my-app": ["pull"]}
    assert granted(ask(**basic("stranger", strangers_key))) == {}
    assert granted(ask()) == {}


def test_a_public_image_is_pulled_by_anybody(send: Send, strangers_key: str, guarded: bool) -> None:
    built(send(public="true"))
    assert granted(ask()) == {"owner/my-app": ["pull"]}
    assert granted(ask(**basic("stranger", strangers_key))) == {"owner/my-app": ["pull"]}


def test_beside_a_private_image_a_public_one_needs_a_guard(
    send: Send, key: str, guarded: bool
) -> None:
    built(send(public="true", tag="open"))
    built(send(public="false", tag="closed"))
    assert granted(ask()) == ({"owner/my-app": ["pull"]} if guarded else {})
    assert granted(ask(**basic("owner", key))) == {"owner/my-app": ["pull"]}


def test_without_a_guard_what_a_deleted_image_left_is_waited_for(
    send: Send, settings: Any, deployment: BuildSettings
) -> None:
    settings.BUILDS = replace(deployment, registry_guarded=False)
    built(send(public="true", tag="open"))
    catalog.delete(built(send(public="false", tag="closed")))
    assert granted(ask()) == {}
    reaper.purge()
    assert granted(ask()) == {"owner/my-app": ["pull"]}


def test_an_image_made_anew_does_not_show_what_its_name_held_before(
    send: Send, guarded: bool
) -> None:
    catalog.delete(built(send()))
    send(public="true")
    assert granted(ask()) == {}


@pytest.mark.parametrize("actions", ["push", "pull,push,delete", "*", "delete"])
def test_nobody_but_a_worker_pushes_or_deletes(
    send: Send, key: str, deployment: BuildSettings, actions: str
) -> None:
    built(send())
    scope = f"repository:owner/my-app:{actions}"
    wanted = {"owner/my-app": ["pull"]} if "pull" in actions else {}
    assert granted(ask(scope, **basic("owner", key))) == wanted
    worker = make_signer(deployment).credential(WORKER, seconds=60)
    assert granted(ask(scope, **basic("x", worker))) == {"owner/my-app": sorted(actions.split(","))}


def test_a_build_pulls_what_its_owner_may(
    send: Send, owner: User, stranger: User, deployment: BuildSettings
) -> None:
    built(send())
    sign = make_signer(deployment).credential
    mine, theirs = (sign(f"owner:{each.pk}", seconds=60) for each in (owner, stranger))
    assert granted(ask(**basic("x", mine))) == {"owner/my-app": ["pull"]}
    assert granted(ask(**basic("x", theirs))) == {}
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert ask(**basic("x", mine)).status_code == 401


def test_a_worker_signs_itself_what_a_builds_owner_may_pull(
    send: Send, owner: User, stranger: User, deployment: BuildSettings
) -> None:
    built(send())
    wanted = {"owner/my-app": ["pull", "push"], "owner/none": ["pull"]}

    def signed(user: User) -> Any:
        identity = make_registry(deployment, owner_id=user.pk)._identity
        assert identity is not None
        claims = jwt.decode(identity.token(wanted), options={"verify_signature": False})
        assert claims["sub"] == f"owner:{user.pk}"
        return claims["access"]

    assert signed(owner) == [{"type": "repository", "name": "owner/my-app", "actions": ["pull"]}]
    assert signed(stranger) == []
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert signed(owner) == []


def test_wrong_credentials_are_refused_and_told_how_to_be_right(key: str, deployment: Any) -> None:
    expired = make_signer(deployment).credential(WORKER, seconds=-61)
    forged = make_signer(replace(deployment, token_secret="x")).credential(WORKER, seconds=60)
    token = make_signer(deployment).token(WORKER, {})
    for name, password in (
        ("owner", "wrong"),
        ("owner", ""),
        ("owner", key[:-1] + "!"),
        ("stranger", key),
        ("", key),
        ("x", expired),
        ("x", forged),
        ("x", token),
    ):
        answer = ask(**basic(name, password))
        assert answer.status_code == 401, password
        assert answer["WWW-Authenticate"].startswith("Basic realm=")
        assert "token" not in answer.json()
    for header in ("Basic", "Basic !", "Basic b3duZXI=", f"Bearer {key}", key):
        assert ask(HTTP_AUTHORIZATION=header).status_code == 401


def test_a_key_that_is_revoked_or_may_not_read_is_refused(send: Send, owner: User) -> None:
    built(send())
    key, text = ApiKey.objects.issue(owner)
    ApiKey.objects.filter(pk=key.pk).revoke()
    assert ask(**basic("owner", text)).status_code == 401
    _, text = ApiKey.objects.issue(owner, scopes=["images:write", "images:delete"])
    answer = ask(**basic("owner", text))
    assert answer.status_code == 401
    assert answer.json()["detail"] == "This API key may not read images"


def test_a_key_for_one_image_pulls_that_one(send: Send, owner: User, guarded: bool) -> None:
    one = built(send(name="one"))
    built(send(name="other"))
    _, text = ApiKey.objects.issue(owner, scopes=[f"images:read:{one.pk}"])
    both = ["repository:owner/one:pull", "repository:owner/other:pull"]
    assert granted(ask(both, **basic("owner", text))) == {"owner/one": ["pull"]}
    assert granted(ask(" ".join(both), **basic("owner", text))) == {"owner/one": ["pull"]}


@pytest.mark.parametrize("scope", ["nonsense", "repository:a b:pull", "repository:A:pull"])
def test_a_malformed_scope_is_the_callers_mistake(scope: str, deployment: BuildSettings) -> None:
    answer = ask(scope)
    assert answer.status_code == 400
    assert "is not a scope" in answer.json()["detail"]


def test_other_services_and_forms_are_refused(deployment: BuildSettings) -> None:
    assert APIClient().get("/registry/token", {"service": "other"}).status_code == 400
    form = "application/x-www-form-urlencoded"
    asked = APIClient().post("/registry/token", "grant_type=refresh_token", content_type=form)
    assert asked.status_code == 400
    assert APIClient().delete("/registry/token").status_code == 405


def test_a_login_without_a_scope_is_checked(key: str, deployment: BuildSettings) -> None:
    assert granted(APIClient().get("/registry/token", **basic("owner", key))) == {}  # type: ignore[arg-type]


def test_the_form_of_oauth_is_answered_too(send: Send, key: str) -> None:
    built(send())
    body = f"grant_type=password&service=slipway&scope={SCOPE}&username=owner&password={key}"
    form = "application/x-www-form-urlencoded"
    answer = APIClient().post("/registry/token", body, content_type=form)
    assert granted(answer) == {"owner/my-app": ["pull"]}


def test_an_unfinished_image_is_nothing_to_pull(send: Send, key: str) -> None:
    send()
    assert granted(ask(**basic("owner", key))) == {}
    assert Image.objects.exists()
    assert Build.objects.exists()
