import io
import json
import tarfile
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from builds.build_options import HARMLESS_BUILDER_ARGS
from builds.conf import BuildSettings
from builds.models import Build, ResourceClass, ResourceClassGrant
from images.models import Image
from tests.conftest import script
from tests.images.conftest import Send, built, form

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_image_is_accepted_and_queued(send: Send, owner: User, sent: list[Any]) -> None:
    answer = send()
    assert answer.status_code == 202
    body = answer.json()
    assert body["image_id"] == str(uuid5(NAMESPACE_OID, f"{owner.username}/my-app:1.0"))
    assert body["status"] == "pending build"
    assert body["build"] == {
        "number": 1,
        "status": "queued",
        "step": 0,
        "steps": 0,
        "waiting_for": "",
        "exit_code": None,
        "ended_at": None,
        "duration_ms": None,
    }
    assert sent == [Build.objects.get().pk]


def test_every_key_of_an_image_is_always_present(send: Send, owner: User) -> None:
    body = send().json()
    for key in [
        "image_id",
        "name",
        "readme",
        "tag",
        "public",
        "status",
        "created_at",
        "build_started_at",
        "build_completed_at",
        "user",
        "logo_id",
        "patch_version",
        "logo",
    ]:
        assert key in body
    assert set(body["user"]) == {"username", "user_id", "logo_id", "created_at", "logo"}
    assert body["created_at"].endswith("Z")


def test_all_bad_fields_are_named_together_in_order(send: Send) -> None:
    answer = send(wait="perhaps", build_context="no file", name=None, tag="a b", public="2")
    assert answer.status_code == 422
    entries = answer.json()["detail"]
    assert [entry["loc"] for entry in entries] == [
        ["body", "wait"],
        ["body", "build_context"],
        ["body", "name"],
        ["body", "tag"],
        ["body", "public"],
    ]
    assert entries[0]["type"] == "bool_parsing"
    assert entries[2] == {
        "type": "missing",
        "loc": ["body", "name"],
        "msg": "Field required",
        "input": None,
    }
    assert not Image.objects.exists()


@pytest.mark.parametrize(
    "name", ["ab", "a" * 66, "a..b", "-ab", "ab-", "a//b", "/ab", "a b", "abc\n", "über", "x/logs"]
)
def test_a_name_that_no_registry_would_take_is_refused(send: Send, name: str) -> None:
    answer = send(name=name)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "name"]


@pytest.mark.parametrize("name", ["abc", "A-b", "a.b", "a__b", "a---b", "team/app", "logs/app"])
def test_a_name_that_a_registry_takes_is_taken(send: Send, name: str) -> None:
    assert send(name=name).status_code == 202


@pytest.mark.parametrize("tag", [".a", "-a", "a" * 129, "a/b", "a:b", "ü", "1\n"])
def test_a_tag_that_no_registry_would_take_is_refused(send: Send, tag: str) -> None:
    assert send(tag=tag).json()["detail"][0]["loc"] == ["body", "tag"]


def test_nobody_makes_images_for_somebody_else(
    strangers_api: APIClient, owner: User, deployment: BuildSettings
) -> None:
    answer = strangers_api.post("/images/", form(owner.username), format="multipart")
    assert answer.status_code == 401
    assert answer.json() == {
        "detail": "Cannot make images for users other than yourself!",
        "code": "not_your_name",
    }


def test_without_credentials_there_is_no_image(owner: User, deployment: BuildSettings) -> None:
    answer = APIClient().post("/images/", form(owner.username), format="multipart")
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers
    assert not Image.objects.exists()


def test_the_same_name_and_tag_again_is_a_conflict_whatever_its_case(send: Send) -> None:
    send()
    answer = send(name="My-App")
    assert answer.status_code == 409
    assert "already exists" in answer.json()["detail"]
    assert Build.objects.count() == 1
    assert len(default_storage.listdir("contexts")[1]) >= 1


def test_a_refused_image_leaves_no_context_behind(send: Send) -> None:
    send()
    before = set(default_storage.listdir("contexts")[1])
    send()
    assert set(default_storage.listdir("contexts")[1]) == before


def test_an_image_that_failed_may_be_sent_again_as_a_new_attempt(send: Send) -> None:
    first = built(send(dockerfile="FROM scratch\nRUN scripted: exit 1\n"))
    assert first.build.api_status.startswith("error: ")
    answer = send()
    assert answer.status_code == 202
    assert answer.json()["build"]["number"] == 2
    assert built(answer).build.api_status == "built and pushed"


def test_the_daily_limit_counts_attempts_and_deleting_refunds_nothing(
    send: Send, api: APIClient, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=2)
    for tag in ("1", "2"):
        assert send(tag=tag).status_code == 202
    assert api.delete("/images/my-app:1").status_code == 200
    answer = send(tag="3")
    assert answer.status_code == 429
    assert 86_000 < int(answer.headers["Retry-After"]) <= 86_400
    assert not Image.objects.filter(tag="3").exists()


def test_a_user_may_have_a_limit_of_their_own(send: Send, owner: User) -> None:
    owner.daily_build_limit = 0
    owner.save()
    assert send().status_code == 429


def test_build_args_must_be_an_object_of_strings(send: Send) -> None:
    for wrong in ("[]", '{"A": 1}', "{", '"x"'):
        assert send(build_args=wrong).json()["detail"][0]["loc"] == ["body", "build_args"]
    assert send(build_args='{"A": "1"}').status_code == 202
    assert Build.objects.get().build_args == {"A": "1"}


@pytest.mark.parametrize(
    "name", ["BUILDKIT_SYNTAX", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_", "BUILDKIT_X"]
)
def test_a_build_argument_that_would_configure_the_builder_is_refused_by_name(
    send: Send, name: str
) -> None:
    answer = send(build_args=json.dumps({"A": "1", name: "x"}))
    assert answer.status_code == 422
    [entry] = answer.json()["detail"]
    assert (entry["loc"], entry["type"]) == (["body", "build_args"], "value_error")
    assert f"the build argument {name} would" in entry["msg"]
    assert not Build.objects.exists()


@pytest.mark.parametrize(
    "name", [*sorted(HARMLESS_BUILDER_ARGS), "buildkit_syntax", "MY_BUILDKIT_"]
)
def test_a_build_argument_that_configures_nothing_outside_the_build_is_taken(
    send: Send, name: str
) -> None:
    assert send(build_args=json.dumps({name: "1"})).status_code == 202


def test_options_are_stored_and_shown_with_the_build(send: Send, api: APIClient) -> None:
    labels = {"org.opencontainers.image.source": "https://example.com/ü", "items": "a\nb", "x": ""}
    sent = {"target": "Build-1", "no_cache": "yes", "pull": "1", "labels": json.dumps(labels)}
    assert send(**sent).status_code == 202
    build = Build.objects.get()
    stored = {"target": "Build-1", "no_cache": True, "pull": True, "labels": labels}
    assert {name: getattr(build, name) for name in stored} == stored
    [shown] = api.get("/images/my-app:1.0/builds").json()["items"]
    assert {name: shown[name] for name in stored} == stored


@pytest.mark.parametrize(
    "values", [{}, {"target": "", "labels": "", "no_cache": "", "pull": ""}, {"labels": "{}"}]
)
def test_without_options_a_build_is_the_plain_one(
    send: Send, api: APIClient, values: dict[str, str]
) -> None:
    assert send(**values).status_code == 202
    [shown] = api.get("/images/my-app:1.0/builds").json()["items"]
    assert (shown["target"], shown["no_cache"], shown["pull"], shown["labels"]) == (
        "", False, False, {},
    )  # fmt: skip


@pytest.mark.parametrize("target", ["builder", "A.b_c-1", "0", "12", "a" * 128])
def test_a_stage_that_a_dockerfile_may_have_is_taken(send: Send, target: str) -> None:
    assert send(target=target).status_code == 202
    assert Build.objects.get().target == target


@pytest.mark.parametrize(
    "target", ["a" * 129, "-a", "1a", "a b", "a\n", "é", "a/b", "--no-cache", "٣", "a,b=c"]
)
def test_a_stage_that_no_dockerfile_has_is_refused(send: Send, target: str) -> None:
    answer = send(target=target)
    assert answer.status_code == 422
    assert [entry["loc"] for entry in answer.json()["detail"]] == [["body", "target"]]


@pytest.mark.parametrize("field", ["no_cache", "pull"])
@pytest.mark.parametrize("value", ["perhaps", "2", "null"])
def test_an_option_that_is_no_boolean_is_refused(send: Send, field: str, value: str) -> None:
    [entry] = send(**{field: value}).json()["detail"]
    assert (entry["loc"], entry["type"]) == (["body", field], "bool_parsing")


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("[]", "JSON object"),
        ("{", "JSON object"),
        ('"x"', "JSON object"),
        ('{"a": 1}', "JSON object"),
        ('{"a": null}', "JSON object"),
        ('{"": "x"}', "no name of a label"),
        ('{"a=b": "x"}', "no name of a label"),
        ('{"a b": "x"}', "no name of a label"),
        ('{"-a": "x"}', "no name of a label"),
        ('{"a.": "x"}', "no name of a label"),
        ('{"a\\n": "x"}', "no name of a label"),
        ('{"ü": "x"}', "no name of a label"),
        (json.dumps({"a" * 256: "x"}), "no name of a label"),
        ('{"slipway.owner": "x"}', "reserved"),
        ('{"Slipway.Owner": "x"}', "reserved"),
        ('{"a": "\\u0000"}', "NUL"),
        (json.dumps({f"a{n}": "" for n in range(101)}), "at most 100 labels"),
        (json.dumps({"a": "x" * 65_536}), "65,536 bytes"),
        (json.dumps({"a": "ü" * 32_768}, ensure_ascii=False), "65,536 bytes"),
        (json.dumps({"a": "x" * 140_000}), "131072 characters"),
    ],
)
def test_labels_that_no_image_should_have_are_refused(
    send: Send, labels: str, complaint: str
) -> None:
    answer = send(labels=labels)
    assert answer.status_code == 422
    [entry] = answer.json()["detail"]
    assert entry["loc"] == ["body", "labels"]
    assert complaint in entry["msg"]
    assert not Build.objects.exists()


def test_as_many_and_as_long_labels_as_there_may_be_are_taken(send: Send) -> None:
    many = {f"a{n}": "" for n in range(100)}
    assert send(labels=json.dumps(many)).status_code == 202
    long = {"slipwayed": "x", "a": "x" * (65_536 - 11)}
    assert send(labels=json.dumps(long), tag="2").status_code == 202


def test_a_context_of_any_format_is_built_whatever_its_name(send: Send) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        info = tarfile.TarInfo("a.txt")
        info.size = 1
        made.addfile(info, io.BytesIO(b"a"))
    answer = send(build_context=SimpleUploadedFile("chute.zip", file.getvalue()))
    assert built(answer).build.api_status == "built and pushed"


def test_a_body_that_is_not_a_form_is_refused(api: APIClient, deployment: BuildSettings) -> None:
    answer = api.post(
        "/images/", b"--x\r\nnonsense", content_type="multipart/form-data; boundary=x"
    )
    assert answer.status_code in {400, 422}
    assert answer.json()["detail"]
    assert api.post("/images/", b"x", content_type="text/plain").status_code == 415


def test_texts_may_come_as_files(send: Send) -> None:
    dockerfile = SimpleUploadedFile("Dockerfile", script("echo ü").encode())
    readme = SimpleUploadedFile("README.md", b"# hello")
    assert send(dockerfile=dockerfile, readme=readme).status_code == 202
    image = Image.objects.with_build().get()
    assert Build.objects.get(pk=image.build.pk).dockerfile == script("echo ü")
    assert image.readme == "# hello"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"\xff", "string_unicode"), (b"", "string_too_short"), (b"a" * 2**21, "string_too_long")],
)
def test_a_file_that_is_no_text_is_refused(send: Send, content: bytes, kind: str) -> None:
    answer = send(dockerfile=SimpleUploadedFile("Dockerfile", content))
    assert answer.status_code == 422
    assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
        (["body", "dockerfile"], kind)
    ]


def test_a_resource_class_is_chosen_by_name_and_refused_by_name(
    send: Send, owner: User, stranger: User
) -> None:
    sizes: dict[str, Any] = {"cpus": 1, "memory_mb": 64, "disk_mb": 64, "deadline": 9}
    ResourceClass.objects.create(name="small", **sizes)
    closed = ResourceClass.objects.create(name="closed", everybody=False, **sizes)
    ResourceClassGrant.objects.create(resource_class=closed, user=stranger)
    for number, name in enumerate(["small", "default", ""]):
        answer = send(name=f"app-{number}", resource_class=name)
        build = Build.objects.get(image_id=answer.json()["image_id"])
        assert build.resource_class == (name or "default")
    for name in ("closed", "huge", "../x", "a" * 41, "small\0"):
        answer = send(name="refused", resource_class=name)
        assert answer.status_code == 422, name
        [problem] = answer.json()["detail"]
        assert problem["loc"] == ["body", "resource_class"]
    assert "there is default, small" in send(resource_class="closed").json()["detail"][0]["msg"]
    assert not Image.objects.filter(name="refused").exists()
