"""What two do at the same moment."""

import hashlib
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import User
from builds.conf import BuildSettings
from builds.models import Build
from images.models import Image
from tests.conftest import zipped
from tests.images.conftest import client_of, form
from tests.together import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def stored() -> set[str]:
    there = default_storage.exists("contexts")
    return set(default_storage.listdir("contexts")[1]) if there else set()


def test_of_two_simultaneous_orders_one_wins_and_its_context_stays(
    owner: User, deployment: BuildSettings, sent: list[Any]
) -> None:
    contexts = {readme: zipped(whose_txt=readme * 10_000) for readme in ("one", "other")}
    before = stored()
    for tag in map(str, range(5)):

        def order(readme: str, tag: str = tag) -> int:
            context = SimpleUploadedFile("chute.zip", contexts[readme])
            data = form(owner.username, tag=tag, readme=readme, build_context=context)
            answer: Any = client_of(owner).post("/images/", data, format="multipart")
            return int(answer.status_code)

        answers = dict(zip(contexts, at_once(order, *contexts), strict=True))
        assert sorted(answers.values()) == [202, 409]
        image = Image.objects.with_build().get(tag=tag)
        assert answers[image.readme] == 202
        with default_storage.open(image.build.context_key) as context:
            assert context.read() == contexts[image.readme]
        digest = hashlib.sha256(contexts[image.readme]).hexdigest()
        assert image.build.context_sha256 == digest
        assert Build.objects.filter(image_id=image.pk).count() == 1
    named = set(Build.objects.values_list("context_key", flat=True))
    assert {f"contexts/{name}" for name in stored() - before} == named
    assert sent == list(Build.objects.order_by("queued_at").values_list("pk", flat=True))
