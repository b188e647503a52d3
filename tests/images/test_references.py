"""What an image's answers tell of what can be pulled, and of how its builds went."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from builds.conf import BuildSettings
from images.models import Image
from tests.conftest import script
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)
REF = "/images/My-App:V1"


def test_an_image_says_what_to_pull_once_it_is_built(
    api: APIClient, send: Send, owner: User, deployment: BuildSettings
) -> None:
    answer = send(name="My-App", tag="V1").json()
    name = f"{deployment.registry}/{owner.username}/my-app"
    assert answer["registry"] == deployment.registry
    assert answer["reference"] == f"{name}:V1"
    assert (answer["reference_by_digest"], answer["good_build"]) == (None, None)


def test_a_failed_rebuild_leaves_the_good_build_in_sight(api: APIClient, send: Send) -> None:
    good = built(send(name="My-App", tag="V1"))
    assert api.post(f"{REF}/rebuild").status_code == 202
    api.post(f"{REF}/cancel")
    told = api.get(REF).json()
    assert told["status"] == "error: cancelled"
    assert told["good_build"]["number"] == 1
    assert told["good_build"]["digest"] == good.build.digest
    assert told["good_build"]["image_bytes"] == good.build.image_bytes == good.good_bytes
    assert told["good_build"]["duration_ms"] == good.build.duration_ms == good.good_ms
    assert told["reference_by_digest"].endswith(f"/my-app@{good.build.digest}")
    listed = api.get("/images/").json()["items"][0]
    assert listed["good_build"] == told["good_build"]


def test_a_failed_build_tells_its_exit_code_time_and_steps(api: APIClient, send: Send) -> None:
    built(send(name="My-App", tag="V1", dockerfile=script("cached", "exit 3")))
    build = api.get(REF).json()["build"]
    assert build["exit_code"] == 3
    assert build["duration_ms"] >= 0
    assert build["ended_at"]
    assert [each["state"] for each in build["step_list"]][1:] == ["cached", "failed"]
    listed = api.get("/images/").json()["items"][0]["build"]
    assert listed == {name: build[name] for name in listed}
    assert "step_list" not in listed


@pytest.mark.parametrize("end", ["success", "exit 1"])
def test_an_image_knows_when_a_build_of_it_last_ended(send: Send, end: str) -> None:
    image = built(send(dockerfile=script("echo a" if end == "success" else end)))
    assert Image.objects.get().ended_at == image.build.ended_at


def test_one_attempt_is_told_by_its_number(api: APIClient, send: Send) -> None:
    built(send(name="My-App", tag="V1", dockerfile=script("exit 3")))
    listed: Any = api.get(f"{REF}/builds").json()["items"]
    told = api.get(f"{REF}/builds/1")
    assert (told.status_code, told.json()["exit_code"]) == (200, 3)
    assert [{name: told.json()[name] for name in listed[0]}] == listed
    for missing in (f"{REF}/builds/2", f"{REF}/builds/0", "/images/none:1/builds/1"):
        assert api.get(missing).status_code == 404


def test_an_attempt_at_anothers_private_image_is_not_told(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send()
    path = f"/images/{owner.username}/my-app:1.0/builds/1"
    assert strangers_api.get(path).status_code == 404
    Image.objects.update(public=True)
    assert strangers_api.get(path).status_code == 200


def test_what_was_accepted_says_where_to_look(api: APIClient, send: Send) -> None:
    made = send()
    image_id = made.json()["image_id"]
    assert made.headers["Location"] == f"/images/{image_id}"
    assert api.post("/images/my-app:1.0/cancel").headers["Location"] == f"/images/{image_id}"
    again = api.post("/images/my-app:1.0/rebuild")
    assert again.headers["Location"] == f"/images/{image_id}"


def test_an_image_that_waits_says_why_and_lists_need_no_queries_for_it(
    api: APIClient, send: Send, django_assert_max_num_queries: Any
) -> None:
    for tag in ("1", "2"):
        send(tag=tag)
    second = api.get("/images/my-app:2").json()["build"]
    assert (second["position"], second["estimate"]) == (2, None)
    assert [each["code"] for each in second["reasons"]] == ["no-worker"]
    with django_assert_max_num_queries(2):
        listed = api.get("/images/").json()["items"][0]["build"]
    assert "reasons" not in listed
    api.post("/images/my-app:2/cancel")
    ended = api.get("/images/my-app:2").json()["build"]
    assert (ended["position"], ended["reasons"]) == (None, [])
