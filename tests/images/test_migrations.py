"""What an older Slipway stored is there after its tables were changed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.models import User
from builds.models import Build
from builds.status import Status, state_word
from images.models import Image

pytestmark = pytest.mark.django_db(transaction=True)
BEFORE = [("builds", "0009_pushing_at"), ("images", "0005_name_search")]
MADE = datetime(2026, 11, 23, 12, tzinfo=UTC)


def migrate(to: list[tuple[str, str]]) -> Any:
    """The models as they were after those migrations."""
    executor = MigrationExecutor(connection)
    executor.migrate(to)
    return MigrationExecutor(connection).loader.project_state(to).apps


@pytest.fixture
def old() -> Iterator[Any]:
    """Models of the time when targets stood between images and their builds."""
    now = MigrationExecutor(connection).loader.graph.leaf_nodes()
    yield migrate(BEFORE)
    migrate(now)


@pytest.mark.parametrize("status", Status)
def test_images_stand_where_their_targets_stood(owner: User, old: Any, status: Status) -> None:
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
    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())
    mine, other = Image.objects.with_build().order_by("name")
    assert {mine.state, other.state} == {state_word(status)}
    assert (mine.build.number, other.build.number) == (2, 2)
    assert mine.good is not None
    assert mine.good.number == 1
    assert other.good is None
    assert mine.created_at == MADE
    assert Build.objects.count() == 4
