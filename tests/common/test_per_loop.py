"""Objects that tasks of one event loop share, and other loops do not."""

import asyncio

import pytest

from common.per_loop import PerLoop


async def test_the_tasks_of_a_loop_share_one_object_and_another_loop_has_its_own() -> None:
    shared = PerLoop(object)

    async def ask() -> object:
        return shared()

    mine = shared()
    assert await ask() is mine
    assert await asyncio.to_thread(asyncio.run, ask()) is not mine
    assert shared() is mine


async def test_an_object_that_can_no_longer_be_used_is_made_again() -> None:
    lists: PerLoop[list[int]] = PerLoop(list, usable=lambda made: len(made) < 1)
    first = lists()
    assert lists() is first
    first.append(1)
    assert lists() is not first


def test_there_is_none_outside_a_loop() -> None:
    with pytest.raises(RuntimeError):
        PerLoop(object)()
