"""One look at the store for everybody who watches."""

import asyncio
import threading
import time
from typing import Any

import pytest

from builds import runner
from builds.logs import hub as module
from builds.logs.hub import hub
from builds.logs.pubsub import ring
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


def test_a_loop_that_hears_late_of_a_look_does_not_rest_for_it(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while hundreds of readers come at once: the look itself was short."""
    build = order("echo hello")
    looked, look = threading.Event(), module.look

    def watched(asked: Any) -> Any:
        looked.set()
        time.sleep(0.2)
        return look(asked)

    monkeypatch.setattr(module, "look", watched)

    async def hold() -> bool:
        with hub().join(build.image_id, 1):
            await asyncio.to_thread(looked.wait, 5)
            time.sleep(2)  # noqa: ASYNC251 - it is to hold the loop
            looked.clear()
            ring(build.image_id)
            return await asyncio.to_thread(looked.wait, 1)

    assert asyncio.run(hold())
