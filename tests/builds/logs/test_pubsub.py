"""The bell between processes."""

import asyncio
import gc

import pytest

from builds.logs import pubsub


class ForgetfulLayer:
    """Nothing is ever received."""

    def __init__(self) -> None:
        self.joined = 0
        self.thrice = asyncio.Event()
        self.receiving = asyncio.Event()

    async def new_channel(self) -> str:
        return "channel"

    async def group_add(self, group: str, channel: str) -> None:
        self.joined += 1
        if self.joined == 3:
            self.thrice.set()

    async def receive(self, channel: str) -> None:
        self.receiving.set()
        await asyncio.Event().wait()


async def test_a_process_joins_again_and_again_as_groups_forget_their_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = ForgetfulLayer()
    monkeypatch.setattr(pubsub, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(pubsub, "JOIN_SECONDS", 0.01)
    hearing = asyncio.create_task(pubsub.Bell()._receive())
    await asyncio.wait_for(layer.thrice.wait(), 5)
    hearing.cancel()


class BreakingLayer(ForgetfulLayer):
    """As channels_redis on redis-py, which may break off with an error where it is cancelled."""

    async def receive(self, channel: str) -> None:
        try:
            await super().receive(channel)
        except asyncio.CancelledError:
            raise ConnectionError("closed meanwhile") from None


async def test_listening_ends_when_it_is_cancelled_whatever_that_breaks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer = BreakingLayer()
    monkeypatch.setattr(pubsub, "get_channel_layer", lambda: layer)
    hearing = asyncio.create_task(pubsub.Bell()._receive())
    await asyncio.wait_for(layer.receiving.wait(), 5)
    hearing.cancel()
    await asyncio.wait([hearing], timeout=5)
    assert hearing.done()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_process_whose_bell_breaks_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = BreakingLayer()
    monkeypatch.setattr(pubsub, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(pubsub, "SAFETY_SECONDS", 0)
    monkeypatch.setattr(pubsub, "JOIN_SECONDS", 0.01)
    hearing = asyncio.create_task(pubsub.Bell()._receive())
    await asyncio.wait_for(layer.thrice.wait(), 5)
    hearing.cancel()
    await asyncio.wait([hearing], timeout=5)
    assert hearing.done()
