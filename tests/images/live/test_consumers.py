"""The websockets, as docs/websocket.md describes them."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from prometheus_client import REGISTRY

from accounts.models import ApiKey, User
from builds import runner
from builds.logs.store import append
from builds.models import Build
from builds.status import Status
from config.routing import websockets
from images import catalog
from images.live import access_watch, consumers
from images.models import Image
from tests.builds.logs.test_follow import claimed, lines
from tests.conftest import script, stand
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)

Messages = list[dict[str, Any]]


def key_of(user: User, *scopes: str) -> dict[str, str]:
    return {"authorization": ApiKey.objects.issue(user, label="test", scopes=scopes or ["all"])[1]}


class Viewer:
    """A client of one websocket that keeps what it was told."""

    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket = socket

    async def message(self, seconds: float = 5) -> dict[str, Any]:
        """The next one; a close is `{"code": …}`."""
        event = await self.socket.receive_output(seconds)
        if event["type"] == "websocket.close":
            return {"code": event.get("code")}
        found: dict[str, Any] = json.loads(event["text"])
        return found

    async def until(self, kind: str, *, ack: bool = True) -> Messages:
        """Every message up to the first of that type, or to the close."""
        found: Messages = []
        while True:
            found.append(await self.message())
            if ack and "next" in found[-1]:
                await self.ack(found[-1]["next"])
            if kind in (found[-1].get("type"), *found[-1]):
                return found

    async def ack(self, cursor: str = "") -> None:
        await self.socket.send_to(text_data=json.dumps({"type": "ack", "cursor": cursor}))


@asynccontextmanager
async def viewing(
    path: str, headers: dict[str, str] | None = None, *, taken: bool = True
) -> AsyncIterator[Viewer]:
    given = {"host": "testserver", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    socket = WebsocketCommunicator(websockets, path, headers=raw)
    connected, _ = await socket.connect(5)
    assert connected is taken
    try:
        yield Viewer(socket)
    finally:
        await socket.disconnect()


def texts(messages: Messages) -> list[str]:
    return [line[1] for each in messages if each.get("type") == "lines" for line in each["lines"]]


@pytest.fixture
def image(send: Send) -> Image:
    return built(send(dockerfile=script("echo one", "stderr two")))


@pytest.fixture
def path(image: Image) -> str:
    return f"/ws/images/{image.pk}/logs"


async def test_a_viewer_is_counted_while_it_watches(image: Image, owner: User) -> None:
    def counted() -> float | None:
        return REGISTRY.get_sample_value("slipway_viewers", {"transport": "websocket"})

    key = await sync_to_async(key_of)(owner)
    before = counted()
    async with viewing("/ws/images", key) as viewer:
        await viewer.until("ready")
        assert counted() == (before or 0) + 1
    assert counted() == before


async def test_a_finished_log_comes_whole_and_ends_with_done(path: str, owner: User) -> None:
    async with viewing(path, await sync_to_async(key_of)(owner)) as viewer:
        messages = await viewer.until("code")
    stored = await Build.objects.aget()
    *_, done, closed = messages
    assert messages[0] == {
        "type": "status",
        "attempt": 1,
        "state": "succeeded",
        "status": "built and pushed",
        "step": stored.step,
        "steps": stored.steps,
        "step_states": [
            [number, state, started, ended]
            for number, (state, started, ended) in enumerate(stored.step_times, 1)
        ],
    }
    assert stored.step_times
    headings = [row for each in messages for row in each.get("headings", [])]
    assert headings == stored.log_steps
    assert len(texts(messages)) == stored.log_lines
    assert {"one", "two"} <= set(texts(messages))
    assert done == {
        "type": "done",
        "attempt": 1,
        "state": "succeeded",
        "status": "built and pushed",
        "cursor": f"1:{stored.log_lines}:done",
    }
    assert closed == {"code": 1000}


async def test_every_cursor_gives_exactly_what_remains(path: str, owner: User) -> None:
    key = await sync_to_async(key_of)(owner)
    async with viewing(path, key) as viewer:
        whole = texts(await viewer.until("done"))
    for start in range(len(whole) + 1):
        async with viewing(f"{path}?offset=1:{start}", key) as viewer:
            messages = await viewer.until("done")
        assert texts(messages) == whole[start:]
        firsts = [each["first"] for each in messages if each["type"] == "lines"]
        assert firsts[:1] == ([start] if start < len(whole) else [])


async def test_a_line_says_stream_text_time_and_step(path: str, owner: User) -> None:
    async with viewing(path, await sync_to_async(key_of)(owner)) as viewer:
        messages = await viewer.until("done")
    [two] = [line for each in messages for line in each.get("lines", []) if line[1] == "two"]
    assert two[0] == "stderr"
    assert 1.7e15 < two[2] < 5e15
    assert isinstance(two[3], int)


async def test_states_of_steps_are_told_as_they_change(live: Build, owner: User) -> None:
    path = f"/ws/images/{live.image_id}/logs"
    async with viewing(path, await sync_to_async(key_of)(owner)) as viewer:
        messages = await viewer.until("done")
    told = [each["step_states"] for each in messages if each["type"] == "status"]
    assert len(told) >= 3
    seen: dict[int, list[Any]] = {}
    for rows in told:
        for number, *now in rows:
            assert seen.get(number) != now
            seen[number] = now
    stored = await Build.objects.aget()
    assert [seen[number] for number in sorted(seen)] == stored.step_times
    assert any(row[1] == "running" for rows in told for row in rows)


@pytest.fixture
def live(send: Send) -> Iterator[Build]:
    steps = [step for n in range(8) for step in (f"echo line {n}", "sleep 0.1")]
    send(dockerfile=script(*steps))
    build = Build.objects.get()

    def work() -> None:
        try:
            runner.run(build.pk)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    yield build
    worker.join(10)


async def test_a_live_log_arrives_as_it_is_written(live: Build, owner: User) -> None:
    key = await sync_to_async(key_of)(owner)
    async with viewing(f"/ws/images/{live.image_id}/logs", key) as viewer:
        messages = await viewer.until("done")
    shown = [text for text in texts(messages) if text.startswith("line ")]
    assert shown == [f"line {n}" for n in range(8)]
    assert sum(each["type"] == "lines" for each in messages) >= 5
    assert {each["state"] for each in messages if each["type"] == "status"} >= {"building"}


async def test_a_viewer_that_acknowledges_nothing_gets_a_bounded_part_and_loses_nothing(
    owner: User, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CREDIT_CHARACTERS", 64 * 1024)
    image = await sync_to_async(lambda: built(send(dockerfile=script(f"repeat 5000 {'x' * 50}"))))()
    path, key = f"/ws/images/{image.pk}/logs", await sync_to_async(key_of)(owner)
    async with viewing(path, key) as viewer:
        taken: Messages = [await viewer.message()]
        while not await viewer.socket.receive_nothing(0.5):
            taken.append(await viewer.message())
        assert sum(len(json.dumps(each)) for each in taken) < 128 * 1024
        await viewer.ack(taken[-1]["next"])
        taken += await viewer.until("done")
    shown = [text for text in texts(taken) if text.endswith("xxx") and text[0].isdigit()]
    assert [int(text.split()[0]) for text in shown] == list(range(5000))


async def test_a_silent_viewer_is_pinged_and_then_closed(
    owner: User, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "PING_SECONDS", 0.1)
    monkeypatch.setattr(consumers, "SILENT_SECONDS", 0.5)
    image_id = (await sync_to_async(send)()).json()["image_id"]
    key = await sync_to_async(key_of)(owner)
    for address in (f"/ws/images/{image_id}/logs", "/ws/images"):
        async with viewing(address, key) as viewer:
            messages = await viewer.until("code", ack=False)
        assert messages[-1] == {"code": access_watch.Code.SILENT}
        assert sum(each.get("type") == "ping" for each in messages) >= 2


async def test_a_viewer_that_answers_pings_stays(
    owner: User, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "PING_SECONDS", 0.05)
    monkeypatch.setattr(consumers, "SILENT_SECONDS", 0.3)
    image_id = (await sync_to_async(send)()).json()["image_id"]
    async with viewing(f"/ws/images/{image_id}/logs", await sync_to_async(key_of)(owner)) as viewer:
        for _ in range(15):
            assert (await viewer.until("ping"))[-1] == {"type": "ping"}
            await viewer.ack("1:0")


@pytest.mark.parametrize(
    "message", ["no json", "[]", "{}", '{"type":"ack"}', '{"type":"ack","cursor":"9:9"}']
)
async def test_what_is_no_acknowledgement_closes(path: str, owner: User, message: str) -> None:
    await sync_to_async(stand)(Build.objects.all(), Status.BUILDING)
    async with viewing(path, await sync_to_async(key_of)(owner)) as viewer:
        await viewer.until("lines", ack=False)
        await viewer.socket.send_to(text_data=message)
        assert (await viewer.until("code"))[-1] == {"code": access_watch.Code.BAD_MESSAGE}


@pytest.mark.parametrize("offset", ["x", "1", "7:0", "1:100000"])
async def test_a_cursor_that_was_never_given_out_is_refused(
    path: str, owner: User, offset: str
) -> None:
    async with viewing(f"{path}?offset={offset}", await sync_to_async(key_of)(owner)) as viewer:
        assert await viewer.message() == {"code": access_watch.Code.BAD_CURSOR}


async def test_who_may_not_see_an_image_is_told_that_there_is_none(
    path: str, stranger: User, owner: User, image: Image
) -> None:
    elsewhere = f"images:read:{'0' * 8}-0000-0000-0000-{'0' * 12}"
    anonymous: dict[str, str] = {}
    wrong = {"authorization": "cpk_" + "0" * 98}
    bound = await sync_to_async(key_of)(owner, elsewhere)
    for headers, code in (
        (anonymous, access_watch.Code.NOT_FOUND),
        (await sync_to_async(key_of)(stranger), access_watch.Code.NOT_FOUND),
        (wrong, access_watch.Code.UNAUTHORIZED),
        (bound, access_watch.Code.UNAUTHORIZED),
    ):
        async with viewing(path, headers) as viewer:
            assert await viewer.message() == {"code": code}
    own = await sync_to_async(key_of)(owner, f"images:read:{image.pk}")
    async with viewing(path, own) as viewer:
        assert (await viewer.message())["type"] == "status"


async def test_anybody_watches_a_public_image(path: str) -> None:
    await Image.objects.aupdate(public=True)
    async with viewing(path) as viewer:
        assert (await viewer.until("code"))[-1] == {"code": 1000}


def cookie_of(user: User) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    name = django_settings.SESSION_COOKIE_NAME
    return {"cookie": f"{name}={client.cookies[name].value}"}


async def test_a_session_is_taken_from_our_own_pages_only(path: str, owner: User) -> None:
    cookie = await sync_to_async(cookie_of)(owner)
    async with viewing(path, {**cookie, "origin": "http://testserver"}) as viewer:
        assert (await viewer.until("code"))[-1] == {"code": 1000}
    for origin in ("http://elsewhere", "null", "http://testserver.elsewhere"):
        async with viewing(path, {**cookie, "origin": origin}, taken=False):
            pass
    async with viewing(path, {**cookie, "host": "elsewhere"}, taken=False):
        pass


async def test_an_address_that_leads_nowhere_is_refused() -> None:
    async with viewing("/ws/nowhere", taken=False):
        pass


Ends = Callable[[], object]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (
            lambda: ApiKey.objects.update(revoked_at="2026-01-01T00:00Z"),
            access_watch.Code.UNAUTHORIZED,
        ),
        (lambda: User.objects.update(is_active=False), access_watch.Code.UNAUTHORIZED),
        (
            lambda: Image.objects.update(owner=User.objects.create_user("new")),
            access_watch.Code.NOT_FOUND,
        ),
        (lambda: catalog.delete(Image.objects.get()), access_watch.Code.NOT_FOUND),
    ],
    ids=["revoked", "inactive", "given away", "deleted"],
)
async def test_who_may_no_longer_watch_is_closed_within_seconds(
    owner: User, send: Send, monkeypatch: pytest.MonkeyPatch, end: Ends, code: int
) -> None:
    monkeypatch.setattr(access_watch, "ASK_SECONDS", 0.1)
    image_id = (await sync_to_async(send)()).json()["image_id"]
    await sync_to_async(stand)(Build.objects.all(), Status.BUILDING)
    key = await sync_to_async(key_of)(owner)
    async with viewing(f"/ws/images/{image_id}/logs", key) as viewer:
        assert (await viewer.message())["type"] == "status"
        await sync_to_async(end)()
        assert (await viewer.until("code"))[-1]["code"] == code


async def test_a_session_that_ended_closes(
    owner: User, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_watch, "ASK_SECONDS", 0.1)
    await sync_to_async(send)()
    cookie = await sync_to_async(cookie_of)(owner)
    async with viewing("/ws/images", cookie) as viewer:
        await viewer.until("ready")
        await Session.objects.all().adelete()
        assert (await viewer.until("code"))[-1] == {"code": access_watch.Code.UNAUTHORIZED}


async def test_images_are_shown_as_they_move(send: Send, owner: User, stranger: User) -> None:
    first = (await sync_to_async(send)()).json()["image_id"]
    second = (await sync_to_async(send)(name="second")).json()["image_id"]
    keys = [await sync_to_async(key_of)(user) for user in (owner, stranger)]
    async with viewing("/ws/images", keys[0]) as viewer, viewing("/ws/images", keys[1]) as other:
        *shown, _ = await viewer.until("ready")
        assert [(each["image_id"], each["position"]) for each in shown] == [(first, 1), (second, 2)]
        assert {each["state"] for each in shown} == {"queued"}
        assert await other.until("ready") == [{"type": "ready"}]
        build = await Build.objects.aget(image_id=first)
        await sync_to_async(runner.run)(build.pk)
        newest: dict[str, dict[str, Any]] = {}
        while newest.get(first, {}).get("state") != "succeeded" or second not in newest:
            message = await viewer.message()
            newest[message["image_id"]] = message
        assert newest[second]["position"] == 1
        assert await other.socket.receive_nothing(0.5)


async def test_one_image_is_shown_though_its_build_has_ended(image: Image, owner: User) -> None:
    key = await sync_to_async(key_of)(owner)
    async with viewing(f"/ws/images?image={image.pk}", key) as viewer:
        shown, _ = await viewer.until("ready")
        assert (shown["image_id"], shown["state"]) == (str(image.pk), "succeeded")
    for nonsense in ("x", "0" * 32):
        async with viewing(f"/ws/images?image={nonsense}", key) as viewer:
            assert await viewer.message() == {"code": access_watch.Code.NOT_FOUND}


async def test_an_image_that_is_deleted_or_hidden_is_gone(
    send: Send, owner: User, stranger: User
) -> None:
    image_id = (await sync_to_async(send)(public="true")).json()["image_id"]
    keys = [await sync_to_async(key_of)(user) for user in (owner, stranger)]
    async with viewing("/ws/images", keys[0]) as viewer, viewing("/ws/images", keys[1]) as other:
        await viewer.until("ready")
        assert (await other.until("ready"))[0]["image_id"] == image_id
        await Image.objects.aupdate(public=False)
        assert (await other.until("gone"))[-1] == {"type": "gone", "image_id": image_id}
        await sync_to_async(lambda: catalog.delete(Image.objects.get()))()
        assert (await viewer.until("gone"))[-1] == {"type": "gone", "image_id": image_id}


async def test_many_viewers_of_a_build_are_looked_after_together(
    send: Send, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    before = access_watch.barred
    monkeypatch.setattr(access_watch, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(
        access_watch, "barred", lambda places: (asked.append(len(places)), before(places))[1]
    )
    await sync_to_async(send)()
    build = await sync_to_async(lambda: claimed(Build.objects.get()))()
    key = await sync_to_async(key_of)(owner)
    path = f"/ws/images/{build.image_id}/logs"

    async def watch() -> list[str]:
        async with viewing(path, key) as viewer:
            await viewer.message()
            found = texts(await viewer.until("lines"))
            await asyncio.sleep(0.3)
            return found

    watching = [asyncio.create_task(watch()) for _ in range(30)]
    await asyncio.sleep(0.5)
    await sync_to_async(append)(build, lines("hello"), step=0, steps=0)
    assert await asyncio.gather(*watching) == [["hello"]] * 30
    assert max(asked) == 30


async def test_a_fault_of_ours_closes_the_socket_and_is_logged(
    path: str, owner: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(consumers, "status_message", broken)
    async with viewing(path, await sync_to_async(key_of)(owner)) as viewer:
        [closed] = await viewer.until("code")
    assert closed == {"code": access_watch.Code.BROKEN}
    assert type(closed["code"]) is int
    assert "planted" in caplog.text
