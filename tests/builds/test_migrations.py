"""Builds that an older Slipway stored are there after the table has changed."""

from uuid import uuid4

import pytest

from builds.models import Build
from tests.migrating import migrated_back

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_build_from_before_options_is_a_plain_one() -> None:
    with migrated_back(("builds", "0010_no_targets")) as (old, to_the_present):
        old.get_model("builds", "Build").objects.create(
            image_id=uuid4(),
            owner_id=uuid4(),
            label="owner/my-app:1.0",
            number=1,
            dockerfile="FROM scratch",
            context_sha256="0" * 64,
            context_bytes=1,
        )
        to_the_present()
        build = Build.objects.get()
    assert (build.target, build.no_cache, build.pull, build.labels) == ("", False, False, {})
    again = build.again(restarts=0, free=True)
    again.save()
    assert (again.number, again.labels) == (2, {})
