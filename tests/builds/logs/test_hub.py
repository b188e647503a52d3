"""One look at the store for everybody who watches."""

import asyncio

import pytest

from builds import runner
from builds.logs.hub import hub
from builds.models import Build
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_last_reader_to_leave_may_come_back_at_once(order: Order) -> None:
    """As one does who follows a lost attempt into the next."""
    build = order("echo hello")
    runner.run(build.pk)
    number = Build.objects.get(pk=build.pk).number

    async def move_on() -> None:
        with hub().join(build.image_id, number + 1):
            await asyncio.sleep(0)
        with hub().join(build.image_id, number) as feed:
            await asyncio.wait_for(feed.changed.wait(), 5)
            assert feed.head is not None

    asyncio.run(move_on())
