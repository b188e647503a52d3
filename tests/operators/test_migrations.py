"""What an older Slipway had under way for operators goes on."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from accounts.models import User
from operators import bulk
from operators.models import BulkAction
from tests.migrating import migrated_back

pytestmark = pytest.mark.django_db(transaction=True)
MADE = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_an_action_that_was_images_own_goes_on(keeper: User) -> None:
    with migrated_back(("operators", None), ("images", "0008_no_targets")) as (old, to_the_present):
        action = old.get_model("images", "BulkAction").objects.create(
            verb="delete", by_id=keeper.pk, confirmed_at=MADE
        )
        for number, state in enumerate(("done", "refused", "waiting")):
            action.items.create(
                image_id=UUID(int=number),
                label=f"owner/my-app:{number}",
                image_created_at=MADE,
                state=state,
                note=f"note {number}",
            )
        to_the_present()
    found = BulkAction.objects.get()
    assert (found.pk, found.subject, found.verb) == (action.pk, "images.image", "delete")
    items = found.items.order_by("id").values_list("object_id", "label", "made_at", "state", "note")
    assert list(items) == [
        (UUID(int=number), f"owner/my-app:{number}", MADE, state, f"note {number}")
        for number, state in enumerate(("done", "refused", "waiting"))
    ]
    bulk.carry_on_all(seconds=5)
    assert bulk.counts(found) == {"done": 1, "refused": 2}
    found.refresh_from_db()
    assert found.ended_at is not None
