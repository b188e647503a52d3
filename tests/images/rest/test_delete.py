import pytest
from rest_framework.test import APIClient

from accounts.models import User
from builds import reaper
from builds.conf import BuildSettings
from builds.models import Build
from builds.registry import make_registry
from builds.status import Status
from images.models import Image
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_deleted_image_is_gone_at_once_and_from_the_registry_soon(
    api: APIClient, send: Send, deployment: BuildSettings
) -> None:
    image = built(send())
    answer = api.delete("/images/my-app:1.0")
    assert answer.status_code == 200
    assert answer.json() == {"image_id": str(image.pk), "deleted": True}
    assert api.get(f"/images/{image.pk}").status_code == 404
    assert api.delete(f"/images/{image.pk}").status_code == 404
    reaper.purge(image_id=image.pk)
    assert make_registry(deployment).digest_of(image.build.repository, "1.0") is None


def test_a_deletion_needs_an_id_or_a_tag(api: APIClient, send: Send) -> None:
    send()
    assert api.delete("/images/my-app").status_code == 404
    assert Image.objects.exists()


def test_only_the_owner_deletes(strangers_api: APIClient, send: Send, owner: User) -> None:
    image_id = send(public="true").json()["image_id"]
    for ref in (image_id, f"{owner.username}/my-app:1.0"):
        assert strangers_api.delete(f"/images/{ref}").status_code == 404
    assert Image.objects.exists()


def test_a_protected_image_is_not_deleted(api: APIClient, send: Send) -> None:
    send()
    Image.objects.update(protected=True)
    answer = api.delete("/images/my-app:1.0")
    assert answer.status_code == 409
    assert "protect" in answer.json()["detail"]
    assert Image.objects.exists()


def test_deleting_a_queued_image_cancels_its_build(api: APIClient, send: Send) -> None:
    send()
    api.delete("/images/my-app:1.0")
    assert Build.objects.get().state is Status.CANCELLED


def test_the_same_name_can_be_made_again_at_once_with_the_same_id(
    api: APIClient, send: Send
) -> None:
    first = send().json()
    api.delete("/images/my-app:1.0")
    second = send()
    assert second.status_code == 202
    assert second.json()["image_id"] == first["image_id"]
    assert second.json()["build"]["number"] == 2
