"""Clients of the API and what they send."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from builds import runner
from builds.conf import BuildSettings
from builds.models import Build
from images.models import Image
from tests.conftest import script, zipped

Send = Callable[..., Any]


def client_of(user: User) -> APIClient:
    client = APIClient()
    _, key = ApiKey.objects.issue(user, label="test")
    client.credentials(HTTP_AUTHORIZATION=key)
    return client


@pytest.fixture
def api(owner: User) -> APIClient:
    return client_of(owner)


@pytest.fixture
def strangers_api(stranger: User) -> APIClient:
    return client_of(stranger)


def form(owner: str, **values: Any) -> dict[str, Any]:
    """A complete form of `POST /images/`; a value of None leaves its field out."""
    filled = {
        "wait": "false",
        "build_context": SimpleUploadedFile("chute.zip", zipped(a_txt="a")),
        "username": owner,
        "name": "my-app",
        "readme": "",
        "logo_id": "__none__",
        "tag": "1.0",
        "dockerfile": script("echo hello"),
        "image": "",
        "public": "false",
    } | values
    return {name: value for name, value in filled.items() if value is not None}


@pytest.fixture
def send(
    api: APIClient, owner: User, deployment: BuildSettings, sent: list[Any], standing: None
) -> Send:
    """Posts an image as the owner."""

    def post(**values: Any) -> Any:
        return api.post("/images/", form(owner.username, **values), format="multipart")

    return post


def built(answer: Any) -> Image:
    """Runs the build that an answer promised."""
    runner.run(Build.objects.get(image_id=answer.json()["image_id"], status="queued").pk)
    return Image.objects.with_build().get(pk=answer.json()["image_id"])


@pytest.fixture
def uncollected(settings: Any) -> None:
    """Pages need no collected files to be tried."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}


def seated(user: User) -> Client:
    """A browser that the user is signed in to."""
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def mine(owner: User) -> Client:
    return seated(owner)


@pytest.fixture
def theirs(stranger: User) -> Client:
    return seated(stranger)


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())
