"""Images that are sent from the browser, and what is refused."""

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from builds import runner
from builds.models import Build
from builds.status import Status
from images.models import Image
from tests.conftest import script
from tests.images.conftest import Send, built, text
from webserver.body_limits import limit_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("uncollected", "deployment", "sent", "standing"),
]


def filled(**values: Any) -> dict[str, Any]:
    return {"name": "app", "tag": "1.0", "dockerfile": script("echo hello"), **values}


def test_an_image_is_built_of_a_form_without_files(mine: Client) -> None:
    form = filled(public="on", readme="Read\r\nme", dockerfile="FROM scratch\r\nCMD x\r\n")
    answer = mine.post("/new", form)
    image = Image.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/i/{image.pk}")
    assert (image.public, image.readme) == (True, "Read\nme")
    assert image.build.dockerfile == "FROM scratch\nCMD x\n"
    runner.run(image.build.pk)
    assert Build.objects.get().state is Status.SUCCEEDED


def test_the_options_and_the_archive_of_the_form_reach_the_build(mine: Client) -> None:
    form = filled(
        context=SimpleUploadedFile("c.zip", b"an archive"),
        build_args="A=1\r\nB=x=y\r\n\r\n",
        labels="team=blue",
        target="0",
        no_cache="on",
        pull="on",
    )
    mine.post("/new", form)
    build = Build.objects.get()
    assert build.build_args == {"A": "1", "B": "x=y"}
    assert (build.labels, build.target) == ({"team": "blue"}, "0")
    assert (build.no_cache, build.pull) == (True, True)
    with default_storage.open(build.context_key) as stored:
        assert stored.read() == b"an archive"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "a"}, "takes 3 to 65 characters"),
        ({"name": "../x"}, "takes letters and digits"),
        ({"name": "some/logs"}, "must not end in"),
        ({"tag": "-"}, "takes 1 to 128 letters"),
        ({"tag": ""}, "This field is required"),
        ({"dockerfile": " \r\n"}, "The Dockerfile is empty"),
        ({"build_args": "no equals"}, "takes one NAME=value on each line"),
        ({"build_args": "1x=2"}, "is no name of a build argument"),
        ({"build_args": "BUILDKIT_SYNTAX=x"}, "would configure the builder"),
        ({"labels": "slipway.x=1"}, "is reserved"),
        ({"target": "<b>"}, "takes the name of a stage"),
    ],
)
def test_what_cannot_be_built_is_said_beside_its_field(
    mine: Client, values: dict[str, str], words: str
) -> None:
    answer = mine.post("/new", filled(**values))
    assert answer.status_code == 422
    assert words in text(answer)
    assert "<b>" not in text(answer)
    assert not Image.objects.exists()


def test_a_name_that_is_taken_and_a_used_up_quota_are_refused(
    mine: Client, owner: User, send: Send
) -> None:
    image = built(send(name="app"))
    assert "exists already. Choose another tag, or tick" in text(mine.post("/new", filled()))
    assert mine.post("/new", filled(replace="on"))["Location"] == f"/i/{image.pk}"
    User.objects.filter(pk=owner.pk).update(daily_build_limit=2)
    answer = mine.post("/new", filled(tag="2"))
    assert "The limit of 2 builds per 24 hours is used up. The next may start in" in text(answer)
    assert "2 of 2 builds used" in text(answer)
    assert Image.objects.get() == image


def test_a_failed_image_is_sent_again_with_its_files_and_another_dockerfile(
    mine: Client, theirs: Client, send: Send
) -> None:
    image = built(send(name="app", dockerfile=script("exit 3"), build_args='{"A": "secret"}'))
    page = text(mine.get(f"/new?from={image.pk}"))
    assert "RUN scripted: exit 3" in page
    assert "A=secret" in page
    for nothing in (text(theirs.get(f"/new?from={image.pk}")), text(theirs.get("/new?from=x"))):
        assert "secret" not in nothing
        assert "exit 3" not in nothing
    mine.post(f"/new?from={image.pk}", filled(keep_context="on"))
    build = Build.objects.get(image_id=image.pk, number=2)
    with default_storage.open(build.context_key) as stored:
        assert b"a.txt" in stored.read()
    theirs.post(f"/new?from={image.pk}", filled(keep_context="on"))
    other = Build.objects.exclude(image_id=image.pk).get()
    with default_storage.open(other.context_key) as stored:
        assert b"a.txt" not in stored.read()


def test_files_that_are_no_longer_stored_are_asked_for(mine: Client, send: Send) -> None:
    image = built(send(name="app", dockerfile=script("exit 3")))
    default_storage.delete(image.build.context_key)
    answer = mine.post(f"/new?from={image.pk}", filled(keep_context="on"))
    assert "no longer stored: choose its files again" in text(answer)
    Build.objects.update(context_key="")
    assert "no longer stored" in text(mine.post(f"/new?from={image.pk}", filled(keep_context="on")))


def test_only_who_is_signed_in_sends_images(mine: Client, owner: User) -> None:
    for method in ("get", "post"):
        answer = getattr(Client(), method)("/new")
        assert answer["Location"] == "/sign-in?next=/new"
    checked = Client(enforce_csrf_checks=True)
    checked.force_login(owner)
    assert checked.post("/new", filled()).status_code == 403
    assert not Image.objects.exists()
    assert (limit_of("POST", "/new") or 0) > 1024**3
    assert limit_of("GET", "/new") is None
    assert limit_of("POST", "/account/password") is None
