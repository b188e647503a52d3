import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from builds.engines.base_images import socks
from builds.engines.base_images.addresses import AddressPolicy, Endpoint, endpoints
from builds.engines.base_images.socks import EgressProxy, Traffic

HELLO = b"\x05\x01\x00"
LOOPBACK_6 = b"\x00" * 15 + b"\x01"
SECONDS = 20


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with ExitStack() as stack:
                while True:
                    try:
                        client, _ = server.accept()
                    except OSError:
                        return
                    stack.enter_context(client)
                    threading.Thread(target=copy, args=[client], daemon=True).start()

        def copy(client: socket.socket) -> None:
            while data := client.recv(1 << 16):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


class Proxy:
    def __init__(
        self, policy: AddressPolicy, *, max_bytes: int = 1 << 30, idle_seconds: float = SECONDS
    ) -> None:
        self.traffic = Traffic()
        self.egress = EgressProxy(
            policy, traffic=self.traffic, max_bytes=max_bytes, idle_seconds=idle_seconds
        )

    @contextmanager
    def serving(self, *targets: Endpoint | None) -> Iterator[list[Endpoint]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs, ExitStack() as stack:
            made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in targets]
            self.egress.serve(ours, targets)
            socket.send_fds(theirs, [b"l"], [each.fileno() for each in made])
            stack.callback(self.egress.close)
            yield [each.getsockname() for each in made]


def allowing(port: int, name: str = "echo.test") -> AddressPolicy:
    return AddressPolicy(
        endpoints(f"{name}:{port}"),
        resolve=lambda host, _: ["127.0.0.1"] if host == name else [host],
    )


def dial(place: Endpoint, data: bytes) -> socket.socket:
    made = socket.create_connection(place, timeout=SECONDS)
    made.sendall(data)
    return made


def request(host: str, port: int, *, command: int = 1) -> bytes:
    name = host.encode()
    return HELLO + bytes([5, command, 0, 3, len(name)]) + name + struct.pack("!H", port)


def take(connection: socket.socket, size: int) -> bytes:
    """Up to so many bytes; fewer where the other side ends, in whatever way."""
    data = b""
    with suppress(ConnectionResetError):
        while len(data) < size and (more := connection.recv(size - len(data))):
            data += more
    return data


def test_a_place_that_may_be_is_reached_and_counted(echo: int) -> None:
    proxy = Proxy(allowing(echo))
    with proxy.serving(None) as [place], dial(place, request("echo.test", echo)) as client:
        assert take(client, 12)[:4] == b"\x05\x00\x05\x00"
        client.sendall(b"hello")
        assert take(client, 5) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert take(client, 1) == b""
    assert (proxy.traffic.sent, proxy.traffic.received) == (5, 5)


def test_a_forwarder_leads_to_its_place_and_no_other(echo: int) -> None:
    proxy = Proxy(allowing(echo))
    with proxy.serving(None, ("echo.test", echo)) as [_, place], dial(place, b"hello") as client:
        assert take(client, 5) == b"hello"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (lambda port: request("127.0.0.1", port), 2),
        (lambda port: HELLO + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + struct.pack("!H", port), 2),
        (lambda port: HELLO + b"\x05\x01\x00\x04" + LOOPBACK_6 + struct.pack("!H", port), 2),
        (lambda port: request("echo.test", port + 1), 2),
        (lambda port: request("", port), 2),
        (lambda port: request("\x00\xff.test", port), 2),
        (lambda port: request("echo.test", port, command=2), 7),
        (lambda port: request("echo.test", port, command=3), 7),
    ],
)
def test_other_places_and_commands_are_refused(
    echo: int, asked: Callable[[int], bytes], code: int
) -> None:
    proxy = Proxy(allowing(echo))
    with proxy.serving(None) as [place], dial(place, asked(echo)) as client:
        assert take(client, 4)[3] == code
        assert take(client, 100)[8:] == b""
    assert (proxy.traffic.sent, proxy.traffic.received) == (0, 0)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01", b"\x05\x00\x05\x01\x00\x09ab"]
)
def test_what_is_not_socks5_is_hung_up_on(echo: int, data: bytes) -> None:
    proxy = Proxy(allowing(echo))
    with proxy.serving(None) as [place], dial(place, data) as client:
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        assert len(take(client, 100)) <= 2


def test_all_connections_end_when_the_budget_is_used(echo: int) -> None:
    proxy = Proxy(allowing(echo), max_bytes=100_000)
    with proxy.serving(("echo.test", echo)) as [place]:
        with dial(place, b"idle") as other:
            assert take(other, 4) == b"idle"
            with dial(place, b"x" * 60_000) as client:
                assert len(take(client, 60_000)) < 60_000
            assert take(other, 1) == b""
        assert proxy.traffic.exceeded
        with pytest.raises(ConnectionRefusedError):
            dial(place, b"more")


def test_connections_beyond_the_limit_are_hung_up_on(
    echo: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socks, "MAX_CONNECTIONS", 2)
    proxy = Proxy(allowing(echo))
    with proxy.serving(("echo.test", echo)) as [place], ExitStack() as stack:
        two = [stack.enter_context(dial(place, b"x")) for _ in range(2)]
        assert [take(each, 1) for each in two] == [b"x", b"x"]
        with dial(place, b"") as third:
            assert take(third, 1) == b""
        assert two[0].send(b"y")
        assert take(two[0], 1) == b"y"


def test_a_silent_connection_is_ended_and_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        proxy = Proxy(allowing(port), idle_seconds=0.1)
        with proxy.serving(("echo.test", port)) as [place], dial(place, b"asked") as client:
            assert take(client, 1) == b""
    assert proxy.traffic.silent == [("echo.test", port)]


def test_a_place_that_does_not_answer_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    proxy = Proxy(allowing(port))
    with proxy.serving(None) as [place], dial(place, request("echo.test", port)) as client:
        assert take(client, 4)[3] == socks.REFUSED
    assert proxy.traffic.unreachable == [("echo.test", port)]


def test_closing_ends_what_is_open(echo: int) -> None:
    proxy = Proxy(allowing(echo))
    with proxy.serving(("echo.test", echo)) as [place], dial(place, b"x") as client:
        assert take(client, 1) == b"x"
        proxy.egress.close()
        assert take(client, 1) == b""
        assert not any(thread.is_alive() for thread in proxy.egress._threads)


def test_listeners_that_never_come_end_the_thread() -> None:
    proxy = Proxy(AddressPolicy())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        proxy.egress.serve(ours, [None])
        proxy.egress.close()
        assert not any(thread.is_alive() for thread in proxy.egress._threads)
