"""One request: signed, bounded in time, to the address that was checked, and nowhere else."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.webhooks.conftest import Receiver
from webhooks import posting
from webhooks.addresses import parse_url
from webhooks.posting import SendFailed, post


def test_a_body_arrives_as_it_was_sent(receiver: Receiver) -> None:
    assert post(parse_url(receiver.url), b'{"a": 1}', {"X-Own": "1"}) == 204
    [(path, headers, body)] = receiver.came
    assert (path, body, headers["X-Own"]) == ("/hooks?of=mine", b'{"a": 1}', "1")
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize(
    ("status", "text"),
    [(301, "redirects are not followed"), (307, "redirects"), (404, "answered 404"), (500, "500")],
)
def test_another_answer_than_success_is_a_failure(
    receiver: Receiver, status: int, text: str
) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}
    with pytest.raises(SendFailed, match=text) as problem:
        post(parse_url(receiver.url), b"", {})
    assert problem.value.status == status
    assert len(receiver.came) == 1


def test_a_name_is_resolved_once_and_the_address_kept(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers for a name might give a public address first, and loopback then."""
    monkeypatch.setattr(posting, "open_addresses", lambda _: ["127.0.0.1"])

    def refuse(host: str, *_: Any, **__: Any) -> Any:
        assert host == "127.0.0.1", f"{host} was resolved again"
        return real(host, *_, **__)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert post(parse_url(f"http://name.example:{receiver.port}/"), b"", {}) == 204
    assert receiver.came[0][1]["Host"] == f"name.example:{receiver.port}"


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that talks as it likes with one client."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                client, _ = server.accept()
                with client:
                    talk(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.close()
        thread.join(10)


def drip(client: socket.socket) -> None:
    """Sends a header byte by byte, and never the last."""
    client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    with suppress(OSError):
        while True:
            client.sendall(b"a")
            threading.Event().wait(0.02)


def silent(client: socket.socket) -> None:
    """Reads until the client is gone, and says nothing."""
    while client.recv(4096):
        pass


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_that_is_slow_without_end_is_cut(settings: Any, scheme: str) -> None:
    with serving(drip if scheme == "http" else silent) as port:
        settings.WEBHOOK_HOSTS = (f"127.0.0.1:{port}",)
        with pytest.raises(SendFailed, match="took longer than"):
            post(parse_url(f"{scheme}://127.0.0.1:{port}/"), b"", {}, seconds=0.3)


def test_what_is_no_http_is_a_failure(settings: Any) -> None:
    with serving(lambda client: client.sendall(b"SSH-2.0-OpenSSH\r\n")) as port:
        settings.WEBHOOK_HOSTS = (f"127.0.0.1:{port}",)
        with pytest.raises(SendFailed):
            post(parse_url(f"http://127.0.0.1:{port}/"), b"", {})


def test_nobody_listening_is_a_failure(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings.WEBHOOK_HOSTS = (f"127.0.0.1:{port}",)
    with pytest.raises(SendFailed, match="refused the connection"):
        post(parse_url(f"http://127.0.0.1:{port}/"), b"", {})


def test_nothing_is_sent_to_an_address_that_is_not_open(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_HOSTS = ()
    with pytest.raises(SendFailed, match="no address that webhooks are sent to"):
        post(parse_url(receiver.url), b"", {})
    assert receiver.came == []


def test_a_certificate_that_nobody_vouches_for_is_refused(settings: Any) -> None:
    assert posting.tls().check_hostname
    assert posting.tls().verify_mode.name == "CERT_REQUIRED"
