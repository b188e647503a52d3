"""What an older Slipway stored of images is there after its tables were changed."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import User
from builds.models import Build
from builds.status import Status, state_word
from images.models import Image
from tests.migrating import migrated_back

pytestmark = pytest.mark.django_db(transaction=True)
MADE = datetime(2026, 11, 23, 12, tzinfo=UTC)


def with_targets(old: Any, owner: User, status: Status) -> None:
    """Two images as they were when targets stood between them and their builds."""

    def attempt(number: int, **values: Any) -> Any:
        return old.get_model("builds", "Build").objects.create(
            image_id=image_id,
            owner_id=owner.pk,
            label="owner/my-app:1.0",
            number=number,
            dockerfile="FROM scratch",
            context_sha256="0" * 64,
            context_bytes=1,
            **values,
        )

    for name in ("my-app", "other"):
        image_id = uuid4()
        good, current = attempt(1, status="succeeded"), attempt(2, status=status)
        target = old.get_model("builds", "Target").objects.create(
            image_id=image_id,
            owner_id=owner.pk,
            repository=f"owner/{name}",
            tag="1.0",
            current=current,
            good=good if name == "my-app" else None,
            created_at=MADE,
        )
        old.get_model("images", "Image").objects.create(
            id=image_id,
            reference_id=uuid4(),
            owner_id=owner.pk,
            name=name,
            tag="1.0",
            target=target,
        )


@pytest.mark.parametrize("status", Status)
def test_images_stand_where_their_targets_stood(owner: User, status: Status) -> None:
    before = (("builds", "0009_pushing_at"), ("images", "0005_name_search"))
    with migrated_back(*before) as (old, to_the_present):
        with_targets(old, owner, status)
        to_the_present()
    mine, other = Image.objects.with_build().order_by("name")
    assert {mine.state, other.state} == {state_word(status)}
    assert (mine.build.number, other.build.number) == (2, 2)
    assert mine.good is not None
    assert mine.good.number == 1
    assert other.good is None
    assert mine.created_at == MADE
    assert Build.objects.count() == 4
