"""What outsiders may do to a whole Slipway: neither fill its disk nor stop its answers."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import zipped
from tests.instance import Instance, send, watch

MIB = 1024 * 1024
CONNECTIONS = 200
PATHS = ["/images/", "/logos/", "/healthz", "/nowhere", "/admin/", "/api_keys/", "/images/a/logs"]
HEADS = {
    "length": "Content-Length: 1000000000",
    "chunked": "Transfer-Encoding: chunked",
    "wrong": "Content-Length: 1000000000\r\nAuthorization: Bearer cpk_wrong",
    "slow": "Content-Length: 60000",
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("attacked") / "data", engine="scripted") as made:
        yield made


def held(instance: Instance) -> dict[str, int]:
    """Bytes on the disk of bodies, by what holds them: open files of their folder, nameless."""
    folder = f"{instance.data_dir}/spool/"
    sizes = {}
    for each in Path(f"/proc/{instance.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name, found = str(each.readlink()), each.stat()
            # The file's own word counts: its number may be another's by now.
            if name.startswith(folder) and found.st_nlink == 0:
                sizes[f"{each.name}: {name}"] = found.st_size
    return sizes


def total(sizes: dict[str, int]) -> int:
    return sum(sizes.values())


def attacker(instance: Instance, number: int) -> socket.socket:
    path = PATHS[number % len(PATHS)]
    head = [*HEADS.values()][number % len(HEADS)]
    client = socket.create_connection(("127.0.0.1", instance.port), timeout=10)
    client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
    client.setblocking(False)
    return client


def push(client: socket.socket, data: bytes) -> int:
    try:
        return client.send(data)
    except OSError:  # it waits, or has been refused
        return 0


def test_bodies_of_nobody_fill_nothing_and_stop_nobody(instance: Instance) -> None:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    clients = [attacker(instance, number) for number in range(CONNECTIONS)]
    sent, most = 0, dict[str, int]()
    with instance.client("") as healthy:
        for _ in range(10):
            sent += sum(push(client, chunk) for client in clients)
            most = max(most, held(instance), key=total)
            assert healthy.get("/healthz").status_code == 200
    for client in clients:
        client.close()
    assert sent > 8 * MIB
    assert total(most) < 64 * MIB, most


def test_the_body_of_somebody_known_is_seen_on_the_disk(instance: Instance) -> None:
    """The control of the other: it would be seen if it came there."""
    key = (instance.data_dir / "admin.key").read_text().strip()
    with socket.create_connection(("127.0.0.1", instance.port), timeout=10) as client:
        head = f"POST /images/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n"
        client.sendall(f"{head}Content-Length: {100 * MIB}\r\n\r\n".encode())
        for _ in range(80):
            client.sendall(bytes(MIB))
        until = time.monotonic() + 20
        while total(held(instance)) < 64 * MIB and time.monotonic() < until:
            time.sleep(0.1)
        assert total(held(instance)) >= 64 * MIB


def test_files_are_for_the_user_of_the_process_alone(instance: Instance) -> None:
    with instance.client() as client:
        assert client.get("/images/").headers["Cache-Control"] == "private, no-cache"
        made = send(client, "FROM scratch\n", zipped(a_txt="a"))
        assert watch(client, made["image_id"])[1]
    files = [each for each in instance.data_dir.rglob("*") if each.is_file()]
    database = [each for each in files if each.name.startswith("slipway.sqlite3")]
    contexts = [each for each in files if each.parent.name == "contexts"]
    assert database
    assert contexts
    assert [each for each in (*database, *contexts) if each.stat().st_mode & 0o077] == []
