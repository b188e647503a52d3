"""What the web server promises of bodies, readers and its end, seen through real sockets."""

import base64
import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.with_servers import answers

MIB = 1024 * 1024
BOUNDARY = "limit-of-a-part"


class Client(socket.socket):
    """A socket that is read through `stream` and closes it too."""

    def __init__(self, port: int, receive_buffer: int) -> None:
        super().__init__()
        if receive_buffer:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.settimeout(20)
        self.connect(("127.0.0.1", port))
        self.stream = self.makefile("rb")

    def close(self) -> None:
        self.stream.close()
        super().close()


class Child:
    """A running server, and the ways to talk to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        settings = {"port": 0, "max_body": 256 * MIB, "spool_dir": str(folder), **options}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.webserver.served", json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def connect(self, receive_buffer: int = 0) -> Client:
        return Client(self.port, receive_buffer)

    def http(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str) -> Any:
        connection = self.http()
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def peak(self) -> int:
        peak: int = self.get("/memory")["peak"]
        return peak

    def open_files(self) -> int:
        """How many it has open once nothing opens or closes."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        counts = [-1, -2, -3]
        while len(set(counts[-3:])) > 1:
            counts.append(len(list(folder.iterdir())))
            time.sleep(0.03)
        return counts[-1]

    def stop(self, by: signal.Signals = signal.SIGTERM) -> str:
        """What the server says as it ends."""
        self.process.send_signal(by)
        said, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, errors
        return said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def make(**options: Any) -> Child:
        started.append(Child(tmp_path, **options))
        return started[-1]

    yield make
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    child = Child(tmp_path_factory.mktemp("spool"), max_body=128 * MIB, stall_seconds=1)
    yield child
    child.process.kill()
    child.process.communicate()


class Form(io.RawIOBase):
    """A form with two fields and a file of random bytes, made while it is read."""

    def __init__(self, size: int) -> None:
        fields = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("name", "hello"), ("readme", ""))
        )
        self.head = (
            f"{fields}--{BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="file"; filename="context.zip"\r\n'
            "Content-Type: application/zip\r\n\r\n"
        ).encode()
        self.block = os.urandom(MIB)
        self.tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        self.size = size
        self.type = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def blocks(self) -> Iterator[bytes]:
        yield self.head
        yield from (self.block[: self.size - at] for at in range(0, self.size, MIB))
        yield self.tail

    @property
    def length(self) -> int:
        return sum(map(len, self.blocks()))

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for each in self.blocks():
            digest.update(each)
        return digest.hexdigest()

    @property
    def file_sha256(self) -> str:
        digest = hashlib.sha256()
        for each in list(self.blocks())[1:-1]:
            digest.update(each)
        return digest.hexdigest()


def post(
    server: Child, path: str, body: Any, headers: dict[str, str] | None = None, **how: Any
) -> tuple[int, Any]:
    connection = server.http()
    connection.request("POST", path, body, headers or {}, **how)
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def read_answer(stream: IO[bytes]) -> tuple[int, dict[str, str], bytes]:
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def wait_until(true: Callable[[], bool], seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


# Bodies


@pytest.mark.parametrize("size", [10, 60_000, 70_000, 3 * MIB])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_is_hashed_and_parsed_however_it_is_sent(
    server: Child, size: int, chunked: bool
) -> None:
    form = Form(size)
    headers = form.type if chunked else {**form.type, "Content-Length": str(form.length)}
    status, answer = post(server, "/upload", form.blocks(), headers, encode_chunked=chunked)
    assert status == 200
    assert answer["sha256"] == form.sha256
    assert answer["size"] == form.length
    assert answer["fields"] == {"name": "hello", "readme": ""}
    assert answer["files"] == {"file": [size, form.file_sha256]}
    assert answer["on_disk"] == [size > 2.5 * 1_000_000]


def test_a_large_form_costs_no_memory(server: Child) -> None:
    form = Form(100 * MIB)
    post(server, "/upload", Form(3 * MIB).blocks(), form.type, encode_chunked=True)
    server.peak()
    before, files = server.peak(), server.open_files()
    headers = {**form.type, "Content-Length": str(form.length)}
    status, answer = post(server, "/upload", form.blocks(), headers)
    assert (status, answer["size"]) == (200, form.length)
    grown = server.peak() - before
    assert grown < 16 * MIB
    assert wait_until(lambda: server.open_files() <= files)
    assert not list(server.folder.iterdir())


def test_a_json_body_reaches_the_application_whole(server: Child) -> None:
    text = json.dumps({"readme": "x" * 100_000})
    status, answer = post(server, "/upload", text, {"Content-Type": "application/json"})
    assert status == 200
    assert answer["fields"] == json.loads(text)
    assert answer["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_without_a_body_there_is_no_spool(server: Child) -> None:
    asked = len(server.get("/seen")["asked"])
    status, answer = post(server, "/upload", None)
    assert (status, answer["sha256"]) == (200, None)
    assert len(server.get("/seen")["asked"]) == asked


def test_one_connection_serves_many_requests_with_bodies(server: Child) -> None:
    connection = server.http()
    for size in (0, 10, 100_000, MIB, 10):
        connection.request("POST", "/echo", bytes(size))
        assert connection.getresponse().read() == bytes(size)
    connection.request("HEAD", "/seen")
    assert connection.getresponse().read() == b""
    connection.close()


def test_requests_sent_ahead_are_answered_in_order(server: Child) -> None:
    with server.connect() as client:
        for body in (b"a" * 70_000, b"b" * 70_000, b"c"):
            length = f"Content-Length: {len(body)}\r\n\r\n".encode()
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + length + body)
        assert [read_answer(client.stream)[2][:1] for _ in range(3)] == [b"a", b"b", b"c"]


def test_a_body_may_come_slowly(server: Child) -> None:
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        for each in b"slow!":
            time.sleep(0.1)
            client.sendall(bytes([each]))
        assert read_answer(client.stream)[2] == b"slow!"


def test_a_body_that_stops_coming_is_given_up(start: Callable[..., Child]) -> None:
    server = start(idle_seconds=0.5)
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhal")
        status, headers, body = read_answer(client.stream)
    assert (status, headers["connection"]) == (408, "close")
    assert "detail" in json.loads(body)


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing(server: Child) -> None:
    server.get("/seen")
    before = server.open_files()
    for _ in range(3):
        with server.connect() as client:
            head = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n"
            client.sendall(head.encode() + bytes(100_000))
            assert wait_until(lambda: server.open_files() > before)
    assert wait_until(lambda: server.open_files() <= before)


# Too large


def test_a_body_that_says_it_is_too_large_is_refused_at_once(server: Child) -> None:
    with server.connect() as client:
        head = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {128 * MIB + 1}\r\n\r\n"
        client.sendall(head.encode())
        status, headers, body = read_answer(client.stream)
        assert client.stream.read() == b""
    assert (status, headers["connection"]) == (413, "close")
    assert headers["content-type"] == "application/json"
    assert str(128 * MIB) in json.loads(body)["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_goes_on_sending_gets_the_refusal(
    start: Callable[..., Child], chunked: bool
) -> None:
    server = start(max_body=MIB)
    block = bytes(65536)
    with server.connect() as client:
        how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {40 * MIB}"
        client.sendall(f"POST /echo HTTP/1.1\r\nHost: a\r\n{how}\r\n\r\n".encode())
        for _ in range(640):
            client.sendall(b"10000\r\n" + block + b"\r\n" if chunked else block)
        status, headers, body = read_answer(client.stream)
        assert client.stream.read() == b""
    assert (status, headers["connection"]) == (413, "close")
    assert "detail" in json.loads(body)
    assert server.peak() < 200 * MIB


def test_a_body_of_exactly_the_limit_is_taken(start: Callable[..., Child]) -> None:
    server = start(max_body=1000)
    connection = server.http()
    connection.request("POST", "/echo", iter([bytes(600), bytes(400)]), encode_chunked=True)
    assert len(connection.getresponse().read()) == 1000
    connection.close()
    status, _ = post(server, "/echo", iter([bytes(600), bytes(401)]), encode_chunked=True)
    assert status == 413


def test_a_full_disk_is_an_answer(server: Child) -> None:
    server.folder.rename(server.folder.with_suffix(".gone"))
    try:
        status, answer = post(server, "/echo", bytes(100_000))
    finally:
        server.folder.with_suffix(".gone").rename(server.folder)
    assert status == 507
    assert "room" in answer["detail"]


def test_what_is_no_request_gets_json_too(server: Child) -> None:
    for nonsense, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET /seen HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /seen HTTP/1.1\r\n" + b"X: yyyyyyyyyyyyyyyy\r\n" * 600 + b"\r\n", 400),
        (b"POST /e HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", 400),
    ):
        with server.connect() as client:
            client.sendall(nonsense)
            got, _, body = read_answer(client.stream)
            assert got == status, nonsense[:60]
            assert "detail" in json.loads(body)
            assert client.stream.read() == b""


# Refused by its headers


def test_headers_alone_can_refuse_before_the_body(server: Child) -> None:
    with server.connect() as client:
        client.sendall(
            b"POST /echo?a=b HTTP/1.1\r\nHost: a\r\nX-Unknown: 1\r\nContent-Length: 9\r\n\r\n"
        )
        status, headers, body = read_answer(client.stream)
        assert client.stream.read() == b""
    assert (status, json.loads(body)) == (401, {"detail": "Unknown.", "code": "unauthorized"})
    assert (headers["www-authenticate"], headers["connection"]) == ("Bearer", "close")
    assert server.get("/seen")["asked"][-1] == "POST /echo"


def test_a_body_sent_with_its_headers_waits_for_the_check(server: Child) -> None:
    started = time.monotonic()
    connection = server.http()
    connection.request("POST", "/echo", bytes(3 * MIB - 1000), {"X-Think": "0.5"})
    answer = connection.getresponse()
    assert answer.status == 400  # Django's own limit for what is no form; the body did arrive
    assert time.monotonic() - started > 0.5
    connection.close()
    connection.request("POST", "/echo", b"whole", {"X-Think": "0.2"})
    assert connection.getresponse().read() == b"whole"
    connection.close()


def test_other_requests_are_served_while_a_check_thinks(server: Child) -> None:
    with server.connect() as client:
        client.sendall(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Think: 2\r\nContent-Length: 2\r\n\r\nok"
        )
        started = time.monotonic()
        server.get("/seen")
        assert time.monotonic() - started < 1
        assert read_answer(client.stream)[2] == b"ok"


def test_a_check_that_fails_is_no_way_in(server: Child) -> None:
    status, answer = post(server, "/echo", b"body", {"X-Fault": "1"})
    assert (status, answer) == (500, {"detail": "Internal Server Error", "code": "internal_error"})


def test_a_client_that_expects_it_is_told_to_continue_after_the_check(server: Child) -> None:
    with server.connect() as client:
        client.sendall(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Think: 0.3\r\n"
            b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        client.settimeout(0.15)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(20)
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert read_answer(client.stream)[2] == b"body"


@pytest.mark.parametrize(("known", "length"), [("Unknown", 4), ("Known", 129 * MIB)])
def test_a_client_that_is_refused_is_never_told_to_continue(
    server: Child, known: str, length: int
) -> None:
    with server.connect() as client:
        client.sendall(
            f"POST /echo HTTP/1.1\r\nHost: a\r\nX-{known}: 1\r\n"
            f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        said = client.stream.read()
    assert said.startswith(b"HTTP/1.1 4")
    assert said.count(b"HTTP/1.1") == 1


# Readers


def test_a_reader_that_stalls_costs_little_and_is_cut(server: Child) -> None:
    server.peak()
    before = server.peak()
    with server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /stream?name=stalled&mb=100 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.recv(100)
        time.sleep(0.5)
        assert "stalled" not in server.get("/seen")["ended"]
        assert wait_until(lambda: "stalled" in server.get("/seen")["ended"])
        assert server.peak() - before < 4 * MIB
        with pytest.raises(ConnectionError):
            client.stream.read()


def test_a_reader_that_is_slow_gets_everything(server: Child) -> None:
    with server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /stream?name=slow&mb=5 HTTP/1.0\r\nHost: a\r\n\r\n")
        got = 0
        until = time.monotonic() + 2.5
        while data := client.recv(16384):
            got += len(data)
            if time.monotonic() < until:
                time.sleep(0.05)
    assert got > 5_000_000


def test_a_reader_that_stalls_on_the_last_bytes_is_cut_too(server: Child) -> None:
    with server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /whole HTTP/1.0\r\nHost: a\r\n\r\n")
        time.sleep(1.5)
        with pytest.raises(ConnectionError):
            client.stream.read()


def test_an_application_ends_when_its_reader_leaves(server: Child) -> None:
    with server.connect() as client:
        client.sendall(b"GET /stream?name=left HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"tick" in client.recv(1000) + client.recv(1000)
        assert "left" not in server.get("/seen")["ended"]
    assert wait_until(lambda: "left" in server.get("/seen")["ended"], 1)


def test_a_fault_before_the_answer_is_json_and_within_it_a_cut(server: Child) -> None:
    connection = server.http()
    connection.request("GET", "/broken")
    answer = connection.getresponse()
    assert answer.status == 500
    assert json.loads(answer.read()) == {
        "detail": "Internal Server Error",
        "code": "internal_error",
    }
    connection.close()
    for _ in range(2):  # the second shows that the first did no lasting harm
        connection.request("GET", "/half")
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            connection.getresponse().read()
        connection.close()


# Websockets


def handshake() -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def upgrade(client: Client) -> None:
    client.sendall(handshake())
    assert read_answer(client.stream)[0] == 101


def frame(text: str) -> bytes:
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


def test_websockets_work(server: Child) -> None:
    with server.connect() as client:
        upgrade(client)
        client.sendall(frame("hello"))
        assert client.stream.read(7) == b"\x81\x05hello"


def test_an_application_that_breaks_can_say_so_as_it_closes_its_websocket(server: Child) -> None:
    with server.connect() as client:
        upgrade(client)
        client.sendall(frame("close"))
        assert client.stream.read(4) == b"\x88\x02" + (1011).to_bytes(2, "big")


def test_a_websocket_that_stalls_costs_little_and_is_cut(server: Child) -> None:
    server.peak()
    before = server.peak()
    with server.connect(receive_buffer=4096) as client:
        upgrade(client)
        client.sendall(frame("100"))
        assert wait_until(lambda: "socket" in server.get("/seen")["ended"])
        assert server.peak() - before < 6 * MIB


# The end


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_stopping_ends_streams_and_sockets_and_says_so(
    start: Callable[..., Child], by: signal.Signals
) -> None:
    server = start(grace_seconds=1)
    with server.connect() as reader, server.connect() as watcher, server.connect() as sender:
        reader.sendall(b"GET /stream?name=reader HTTP/1.1\r\nHost: a\r\n\r\n")
        sender.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhal")
        upgrade(watcher)
        assert b"tick" in reader.recv(1000) + reader.recv(1000)
        started = time.monotonic()
        said = server.stop(by)
        assert time.monotonic() - started < 5
        assert b"0\r\n\r\n" not in reader.stream.read()
        assert watcher.stream.read(4) == b"\x88\x02" + (1001).to_bytes(2, "big")
    assert re.fullmatch(r"stopped after \[(.*)\]\n", said)
    assert "'reader'" in said
    assert "'socket " in said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_an_answer_under_way_is_finished(start: Callable[..., Child]) -> None:
    server = start()
    connection = server.http()
    connection.request("GET", "/nap?seconds=1")
    time.sleep(0.3)
    assert "stopped" in server.stop()
    assert connection.getresponse().read() == b"rested"
    connection.close()


def test_before_it_stops_it_answers_for_a_while_and_keeps_no_connection(
    start: Callable[..., Child],
) -> None:
    server = start(leave_seconds=30)
    server.process.send_signal(signal.SIGTERM)
    connection = server.http()

    def says_close() -> bool:
        connection.close()
        connection.request("GET", "/seen")
        answer = connection.getresponse()
        answer.read()
        return answer.headers["Connection"] == "close"

    assert wait_until(says_close)
    with server.connect() as client:
        client.sendall(b"GET /seen HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(client.stream)[0] == 200
        assert client.stream.read() == b""
    assert "stopped" in server.stop()


def test_a_body_that_was_coming_is_taken_and_answered(start: Callable[..., Child]) -> None:
    server = start()
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhal")
        assert wait_until(lambda: server.get("/seen")["asked"] != [])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: not answers(server.port))
        client.sendall(b"f a day")
        status, headers, body = read_answer(client.stream)
    assert (status, headers["connection"], body) == (200, "close", b"half a day")
    server.process.communicate(timeout=5)
    assert server.process.returncode == 0


def test_whoever_asks_while_it_stops_is_cut(start: Callable[..., Child]) -> None:
    server = start()
    under_way = server.http()
    under_way.request("GET", "/nap?seconds=1")
    with server.connect() as late, server.connect() as watcher:
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        late.sendall(b"GET /nap?seconds=30 HTTP/1.1\r\nHost: a\r\n\r\n")
        watcher.sendall(handshake())
        for each in (late, watcher):
            with pytest.raises(ConnectionResetError):
                each.recv(1000)
    assert under_way.getresponse().read() == b"rested"
    under_way.close()
    server.process.communicate(timeout=5)
    assert server.process.returncode == 0


def test_a_signal_is_heard_among_many_calls_of_threads(start: Callable[..., Child]) -> None:
    server = start()
    connection = server.http()
    connection.request("GET", "/crowd")
    assert connection.getresponse().read() == b"signalled"
    connection.close()
    said, _ = server.process.communicate(timeout=20)
    assert said == "stopped after []\n"


def test_an_address_in_use_is_a_clear_error(server: Child, tmp_path: Path) -> None:
    options = json.dumps({"port": server.port, "max_body": 1, "spool_dir": str(tmp_path)})
    ended = subprocess.run(
        [sys.executable, "-m", "tests.webserver.served", options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"OSError: Cannot listen on 127.0.0.1:{server.port}: " in ended.stderr
    assert ended.stdout == "stopped after []\n"


# How much at once


def sending(server: Child, length: int, **headers: str) -> Client:
    """A client that has announced a body of that length, and sent none of it."""
    client = server.connect()
    told = "".join(f"X-{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /echo HTTP/1.1\r\nHost: a\r\n{told}Content-Length: {length}\r\n\r\n"
    client.sendall(head.encode())
    return client


def refused(client: Client) -> int:
    """The status that it was refused with."""
    with client:
        status, _, body = read_answer(client.stream)
        assert "detail" in json.loads(body)
        return status


def waits(client: Client) -> bool:
    """Whether it may go on sending."""
    client.settimeout(0.3)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(20)
    return False


def taken(server: Child, length: int, **headers: str) -> bool:
    with sending(server, length, **headers) as client:
        return waits(client)


def on_disk(server: Child) -> int:
    """Bytes of the files that it has open and that have no name."""
    sizes = []
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            if str(each.readlink()).endswith("(deleted)"):
                sizes.append(each.stat().st_size)
        except OSError:
            continue
    return sum(sizes)


def test_a_route_takes_no_more_than_it_says(server: Child) -> None:
    assert refused(sending(server, 1001, Limit="1000")) == 413
    status, _ = post(server, "/echo", iter([bytes(1001)]), {"X-Limit": "1000"}, encode_chunked=True)
    assert status == 413
    connection = server.http()
    connection.request("POST", "/echo", bytes(1000), {"X-Limit": "1000"})
    assert len(connection.getresponse().read()) == 1000
    connection.close()


def test_what_anybody_may_send_never_comes_to_the_disk(server: Child) -> None:
    clients = [sending(server, 65536, Limit="65536") for _ in range(20)]
    for client in clients:
        client.sendall(bytes(65535))
    time.sleep(0.3)
    assert on_disk(server) == 0
    with sending(server, 70_000, Limit="70000", Caller="known") as control:
        control.sendall(bytes(69_999))
        assert wait_until(lambda: on_disk(server) > 0)
    for client in clients:
        client.close()


def test_all_bodies_together_and_those_of_a_caller_have_a_budget(
    start: Callable[..., Child],
) -> None:
    server = start(budget={"total": 10 * MIB, "per_caller": 6 * MIB})
    first = sending(server, 5 * MIB, Limit=str(50 * MIB), Caller="one")
    assert waits(first)
    assert refused(sending(server, 2 * MIB, Limit=str(50 * MIB), Caller="one")) == 429
    second = sending(server, 4 * MIB, Limit=str(50 * MIB), Caller="two")
    assert waits(second)
    assert refused(sending(server, 2 * MIB, Limit=str(50 * MIB), Caller="three")) == 503
    first.close()
    assert wait_until(lambda: taken(server, 5 * MIB, Limit=str(50 * MIB), Caller="three"))
    second.close()


def test_a_body_of_unknown_length_is_accounted_for_as_it_comes(
    start: Callable[..., Child],
) -> None:
    server = start(budget={"per_caller": 9 * MIB})
    blocks = (bytes(65536) for _ in range(16 * 20))
    headers = {"X-Limit": str(50 * MIB), "X-Caller": "one"}
    status, _ = post(server, "/echo", blocks, headers, encode_chunked=True)
    assert status == 429


def test_free_space_is_looked_at_before_and_while_bodies_come(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    there = os.statvfs(tmp_path)
    free = there.f_bavail * there.f_frsize
    server = start(budget={"free": free + (1 << 40)})
    assert refused(sending(server, MIB, Limit=str(50 * MIB), Caller="one")) == 507
    small = sending(server, 10, Limit=str(50 * MIB), Caller="one")
    small.sendall(bytes(10))
    assert read_answer(small.stream)[0] == 200
    small.close()


def test_a_slow_body_of_nobody_known_is_given_up_however_it_drips(
    start: Callable[..., Child],
) -> None:
    server = start(unknown_seconds=1)
    known = sending(server, 1000, Limit="1000", Caller="known")
    unknown = sending(server, 1000, Limit="1000")
    for _ in range(8):
        known.sendall(b"a")
        try:
            unknown.sendall(b"a")
        except OSError:
            break
        time.sleep(0.2)
    assert refused(unknown) == 408
    assert waits(known)
    known.close()
