"""What the helper's socket refuses, and that no client holds up another."""

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from builds.engines.sandbox.helper import Helper, HelperError
from helper.protocol import MESSAGE_BYTES, Refused, StartBuilder, parse
from helper.server import CONNECTIONS
from tests.helper.conftest import needs_root
from tests.helper.running import (
    OWNER,
    SYSTEM_PYTHON,
    RunningHelper,
    as_plain_user,
    running_helper,
    wait_for,
)

BUILDER: dict[str, Any] = {
    "op": "builder",
    "owner": str(OWNER),
    "network": False,
    "deny": ["203.0.113.0/24", "2001:db8::/32"],
    "limits": {"memory_bytes": 1 << 30, "pids": 100, "cpus": 1},
    "cache_bytes": 1 << 30,
}


def changed(**fields: Any) -> bytes:
    return json.dumps({**BUILDER, **fields}).encode()


def limits(**fields: Any) -> bytes:
    return changed(limits={**BUILDER["limits"], **fields})


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in BUILDER.items() if key != name}).encode()


def test_a_complete_request_is_read() -> None:
    request = parse(json.dumps(BUILDER).encode())
    assert isinstance(request, StartBuilder)
    assert (request.owner, request.slot, request.limits.cpus) == (OWNER, 0, 1.0)
    assert request.deny == ("203.0.113.0/24", "2001:db8::/32")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 16_000,
        b'{"op": ' + b"9" * 5_000 + b"}",
        b"{}",
        b'{"op": null}',
        b'{"op": ["info"]}',
        b'{"op": "shell"}',
        b'{"op": "info", "path": "/etc"}',
        b'{"op": "drop"}',
        b'{"op": "drop", "owner": "../../etc"}',
        b'{"op": "limits"}',
        *(without(name) for name in ("owner", "network", "limits", "cache_bytes")),
        *(changed(owner=owner) for owner in ("", "a", str(OWNER).upper(), OWNER.hex, 7, "/", None)),
        *(changed(slot=slot) for slot in (-1, 8, True, "1", 1.0)),
        *(changed(network=network) for network in (0, 1, "yes")),
        *(changed(deny=deny) for deny in ("10.0.0.0/8", ["x"], [7], ["10.0.0.0/8\nroute"])),
        changed(deny=["10.0.0.0/8"] * 513),
        *(changed(cache_bytes=size) for size in (0, -1, 1 << 20, 1 << 60, 1e9, "1", True)),
        *(limits(memory_bytes=size) for size in (0, 1 << 10, 1 << 60, "1")),
        *(limits(pids=count) for count in (0, 1, 1 << 30, 10.5)),
        *(limits(cpus=count) for count in (0, -1, 1e9, float("nan"), float("inf"), "1", True)),
        limits(swap=1),
        changed(limits=[]),
        changed(command="sh"),
        b'{"op": "caches", "after": 7}',
    ],
)
def test_a_request_out_of_bounds_is_refused(message: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse(message)
    assert caught.value.code == "malformed"
    assert len(caught.value.text) < 100


@contextmanager
def connected(helper: RunningHelper) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        end.connect(str(helper.socket))
        end.settimeout(10)
        yield end


def ask(helper: RunningHelper, message: bytes, *fds: int) -> dict[str, Any]:
    with connected(helper) as end:
        socket.send_fds(end, [message], list(fds))
        answer: dict[str, Any] = json.loads(end.recv(1 << 20))
        return answer


def test_a_message_above_the_limit_is_refused(helper: RunningHelper) -> None:
    info = b'{"op": "info"}'
    assert "root" in ask(helper, info + b" " * (MESSAGE_BYTES - len(info)))
    assert ask(helper, info + b" " * (MESSAGE_BYTES - len(info) + 1))["error"] == "malformed"
    assert ask(helper, bytes(100_000))["error"] == "malformed"


def test_only_a_listening_unix_socket_and_a_writable_file_are_taken(
    helper: RunningHelper, tmp_path: Path
) -> None:
    request = json.dumps(BUILDER).encode()
    null = os.open(os.devnull, os.O_RDWR)
    with (
        tempfile.TemporaryFile() as log,
        socket.socket(socket.AF_UNIX) as silent,
        socket.create_server(("127.0.0.1", 0)) as internet,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        (tmp_path / "file").write_text("")
        read_only = os.open(tmp_path / "file", os.O_RDONLY)
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        for fds in (
            (),
            (listener.fileno(),),
            (listener.fileno(), log.fileno(), log.fileno()),
            (log.fileno(), listener.fileno()),
            (silent.fileno(), log.fileno()),
            (internet.fileno(), log.fileno()),
            (listener.fileno(), null),
            (listener.fileno(), read_only),
            (listener.fileno(),) * 9,
        ):
            assert ask(helper, request, *fds)["error"] == "malformed", fds
        assert ask(helper, b'{"op": "info"}', log.fileno())["error"] == "malformed"
        os.close(read_only)
    os.close(null)
    assert helper.client.caches() == []


def test_refused_descriptors_are_closed(helper: RunningHelper) -> None:
    helper.client.info()
    before = open_descriptors(helper)
    with tempfile.TemporaryFile() as log:
        for _ in range(50):
            ask(helper, b'{"op": "info"}', log.fileno())
            ask(helper, bytes(100_000), log.fileno())
            ask(helper, json.dumps(BUILDER).encode(), *[log.fileno()] * 9)
    helper.client.info()
    assert open_descriptors(helper) <= before + 1


def open_descriptors(helper: RunningHelper) -> int:
    return len(list(Path(f"/proc/{helper.process.pid}/fd").iterdir()))


def test_commands_of_a_builder_need_one(helper: RunningHelper) -> None:
    assert ask(helper, b'{"op": "usage"}')["error"] == "no-builder"
    limits = json.dumps({"op": "limits", "limits": BUILDER["limits"]}).encode()
    assert ask(helper, limits)["error"] == "no-builder"
    assert ask(helper, b'{"op": "trim"}')["error"] == "no-builder"
    assert ask(helper, b'{"op": "kill"}') == {"killed": True}


@needs_root
@pytest.mark.engine
def test_a_connection_has_one_builder(helper: RunningHelper, tmp_path: Path) -> None:
    request = json.dumps(BUILDER).encode()
    other = changed(owner=str(UUID(int=9)))
    with (
        socket.socket(socket.AF_UNIX) as listener,
        tempfile.TemporaryFile() as log,
        connected(helper) as end,
    ):
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        fds = [listener.fileno(), log.fileno()]
        socket.send_fds(end, [request], fds)
        assert json.loads(end.recv(9999))["ok"]
        socket.send_fds(end, [other], fds)
        assert json.loads(end.recv(9999))["error"] == "busy"
        end.send(b'{"op": "kill"}')
        assert json.loads(end.recv(9999)) == {"killed": True}
        socket.send_fds(end, [other], fds)  # the control
        assert json.loads(end.recv(9999))["ok"]


@needs_root
@pytest.mark.engine
def test_a_network_that_cannot_be_given_is_refused(open_folder: Path) -> None:
    data_dir, root = open_folder / "data", open_folder / "engine-root"
    prefix = as_plain_user(data_dir, root)
    with running_helper(data_dir, prefix=prefix, python=SYSTEM_PYTHON, engine_root=root) as plain:
        if plain.client.info().network:
            pytest.skip("the tun device is open to everybody")
        with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryFile() as log:
            listener.bind(str(open_folder / "socket"))
            listener.listen()
            fds = [listener.fileno(), log.fileno()]
            assert ask(plain, changed(network=True), *fds)["error"] == "network"
            assert ask(plain, changed(network=False), *fds)["ok"]  # the control


def test_there_are_only_so_many_connections(helper: RunningHelper) -> None:
    with ExitStack() as stack:
        ends = [stack.enter_context(connected(helper)) for _ in range(CONNECTIONS + 1)]
        ends[-2].send(b'{"op": "info"}')
        assert ends[-2].recv(9999)
        assert ends[-1].recv(9999) == b""
    wait_for(lambda: _answers(helper), "the end of the others")


def _answers(helper: RunningHelper) -> bool:
    with suppress(HelperError):
        return helper.client.info() is not None
    return False


def test_more_caches_than_a_message_holds_are_listed(helper: RunningHelper) -> None:
    owners = {UUID(int=number) for number in range(1, 1_203)}
    for owner in owners:
        (helper.caches / f"{owner}.img").touch()
    assert {cache.owner for cache in helper.client.caches()} == owners


def test_clients_that_hang_hold_up_nobody(helper: RunningHelper) -> None:
    with connected(helper), connected(helper) as deaf:
        deaf.setblocking(False)
        try:
            while True:
                deaf.send(b'{"op": "info"}')  # and never reads an answer
        except OSError:
            pass
        assert helper.client.info() is not None


def test_a_helper_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(HelperError) as caught:
        Helper(tmp_path / "run/helper.sock").info()
    assert caught.value.code == "unreachable"
