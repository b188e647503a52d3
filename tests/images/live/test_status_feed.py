"""What moves among the images, told to everybody who watches."""

import asyncio

import pytest

from images.live.status_feed import Inbox, moves

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_viewer_who_comes_as_the_last_one_leaves_is_told_all_the_same() -> None:
    inbox = Inbox(lambda _: True)
    with moves().told_to(inbox):
        await asyncio.sleep(0)
    with moves().told_to(inbox) as looked:
        await asyncio.wait_for(looked.wait(), 5)
