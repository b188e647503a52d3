"""Orders with as little as it takes, and images that are built again under their name."""

from dataclasses import replace
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from builds.conf import BuildSettings
from builds.models import Build
from images.models import Image
from tests.conftest import script, zipped
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)
LEAST = dict.fromkeys(("wait", "username", "readme", "logo_id", "image", "public"))
"""Fields that may be left out."""


def context(**members: str) -> SimpleUploadedFile:
    return SimpleUploadedFile("context.zip", zipped(**members))


def test_name_tag_dockerfile_and_context_are_enough(send: Send) -> None:
    image = built(send(**LEAST))
    assert (image.readme, image.public, image.logo) == ("", False, None)
    assert image.build.api_status == "built and pushed"


def test_no_context_is_an_empty_one(send: Send, api: APIClient) -> None:
    assert built(send(**LEAST, build_context=None)).build.api_status == "built and pushed"
    assert built(api.post("/images/my-app:1.0/rebuild")).build.api_status == "built and pushed"


@pytest.mark.parametrize("content", [b"", b"no archive", b"BZh9", b"\x89PNG\r\n"])
def test_a_context_that_is_no_archive_is_refused_and_costs_nothing(
    send: Send, content: bytes, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=1)
    answer = send(build_context=SimpleUploadedFile("context.zip", content))
    [entry] = answer.json()["detail"]
    assert (answer.status_code, entry["loc"]) == (422, ["body", "build_context"])
    assert "send a .zip, .tar, .tar.gz or .tar.zst archive" in entry["msg"]
    assert send().status_code == 202


@pytest.mark.parametrize("path", ["Dockerfile", "./Dockerfile", "Dockerfile/"])
def test_a_dockerfile_may_come_in_the_context(send: Send, api: APIClient, path: str) -> None:
    files = context(Dockerfile=script("exit 7"))
    image = built(send(**LEAST, dockerfile=None, dockerfile_path=path, build_context=files))
    assert image.build.exit_code == 7
    assert image.build.dockerfile == script("exit 7")
    assert built(api.post("/images/my-app:1.0/rebuild")).build.exit_code == 7


def test_a_dockerfile_may_lie_deeper_in_the_context(send: Send) -> None:
    files = context(**{"docker/app_Dockerfile": script("exit 7")})
    path = "docker/app.Dockerfile"
    image = built(send(dockerfile=None, dockerfile_path=path, build_context=files))
    assert image.build.exit_code == 7


@pytest.mark.parametrize(
    ("path", "files", "reason"),
    [
        ("missing", {"Dockerfile": "FROM scratch"}, "there is no plain file 'missing'"),
        ("a", {"a/b": "x"}, "there is no plain file 'a'"),
        ("a", {"a": "x" * (1024 * 1024 + 1)}, "is larger than"),
        ("a", {"a": "FROM scratch\n\0"}, "null character"),
        ("a", {"a": "RUN no from"}, "FROM"),
    ],
)
def test_a_dockerfile_that_cannot_be_read_fails_the_build(
    send: Send, path: str, files: dict[str, str], reason: str, deployment: BuildSettings
) -> None:
    image = built(send(dockerfile=None, dockerfile_path=path, build_context=context(**files)))
    assert reason in image.build.api_status
    assert (image.build.failure_fault, image.build.failure_code) == ("user", "dockerfile")
    assert not list(deployment.work_folder.glob("*"))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"dockerfile": None}, "dockerfile"),
        ({"dockerfile": None, "dockerfile_path": ""}, "dockerfile"),
        ({"dockerfile_path": "Dockerfile"}, "dockerfile_path"),
        ({"dockerfile": None, "dockerfile_path": "a", "build_context": None}, "dockerfile_path"),
        ({"dockerfile": None, "dockerfile_path": "../a"}, "dockerfile_path"),
        ({"dockerfile": None, "dockerfile_path": "/etc/passwd"}, "dockerfile_path"),
        ({"dockerfile": None, "dockerfile_path": "a\nb"}, "dockerfile_path"),
        ({"dockerfile": None, "dockerfile_path": "."}, "dockerfile_path"),
        ({"dockerfile": None, "dockerfile_path": "a/" * 65}, "dockerfile_path"),
        ({"replace": "perhaps"}, "replace"),
    ],
)
def test_an_order_that_says_too_little_or_too_much_is_refused(
    send: Send, values: dict[str, Any], field: str
) -> None:
    answer = send(**values)
    assert answer.status_code == 422
    assert field in [entry["loc"][1] for entry in answer.json()["detail"]]
    assert not Build.objects.exists()


def test_an_image_that_succeeded_is_replaced_where_that_is_asked_for(
    send: Send, api: APIClient
) -> None:
    first = built(send(readme="about", public="true"))
    assert send().status_code == 409
    answer = send(**LEAST, replace="true", dockerfile=script("exit 1"))
    assert (answer.status_code, answer.json()["build"]["number"]) == (202, 2)
    assert send(replace="true").status_code == 409
    failed = built(answer)
    assert failed.good == first.build
    assert (failed.readme, failed.public) == ("about", True)
    again = built(send(replace="true"))
    assert again.good == again.build
    assert again.build.number == 3


def test_replacing_what_is_not_there_makes_it(send: Send) -> None:
    assert send(replace="true").json()["build"]["number"] == 1


def test_replacing_counts_against_the_quota(
    send: Send, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=1)
    built(send())
    assert send(replace="true").status_code == 429


def test_nobody_replaces_anothers_image(
    strangers_api: APIClient, send: Send, owner: User, stranger: User
) -> None:
    built(send(public="true"))
    form = {"name": "my-app", "tag": "1.0", "dockerfile": "FROM scratch", "replace": "true"}
    other = {**form, "username": owner.username}
    assert strangers_api.post("/images/", other, format="multipart").status_code == 401
    assert strangers_api.post("/images/", form, format="multipart").status_code == 202
    assert Image.objects.get(owner=owner).build.number == 1
    assert Image.objects.get(owner=stranger).build.number == 1


def test_images_are_found_by_whether_they_can_be_pulled(send: Send, api: APIClient) -> None:
    built(send(tag="good"))
    built(send(tag="bad", dockerfile=script("exit 1")))
    built(send(tag="both"))
    built(send(tag="both", replace="true", dockerfile=script("exit 1")))
    for pullable, tags in (("true", ["both", "good"]), ("false", ["bad"])):
        found = api.get("/images/", {"pullable": pullable}).json()
        assert [each["tag"] for each in found["items"]] == tags
        assert found["total"] == len(tags)
    failed = api.get("/images/", {"status": "failed", "pullable": "true"}).json()
    assert [each["tag"] for each in failed["items"]] == ["both"]
