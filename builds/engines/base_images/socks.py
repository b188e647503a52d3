"""The only way out of a fetch sandbox: a SOCKS5 proxy, and forwarders to configured registries.

The listening sockets are created inside the sandbox's network namespace. Their connections are
served by threads of the worker, which connect onwards from the worker's own network.
"""

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from builds.engines.base_images.addresses import (
    AddressPolicy,
    AddressRefused,
    Endpoint,
    NameUnknown,
)

Connect = Callable[[str, int, float], socket.socket]

MAX_CONNECTIONS = 64
MAX_FAULTS = 20
CHUNK_BYTES = 256 << 10
IDLE_SECONDS = 60.0
CONNECT_SECONDS = 15.0
HANDSHAKE_SECONDS = 10.0
ACCEPT_SECONDS = 0.5
CLOSE_SECONDS = 0.3

VERSION, NO_AUTHENTICATION, CONNECT, RESERVED = 5, 0, 1, 0
IPV4, NAME, IPV6 = 1, 3, 4
SUCCEEDED, NOT_ALLOWED, UNREACHABLE, REFUSED, BAD_COMMAND = 0, 2, 4, 5, 7


def connect(address: str, port: int, timeout: float) -> socket.socket:
    """Connect to an IP address that the policy has allowed, never to a name. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made


@dataclass(slots=True)
class Traffic:
    """Bytes and failed connections of one proxy. Error messages are made of it."""

    refused: list[Endpoint] = field(default_factory=list)
    """Endpoints that the address policy refuses."""
    unknown: list[Endpoint] = field(default_factory=list)
    """Endpoints whose name has no address."""
    unreachable: list[Endpoint] = field(default_factory=list)
    """Endpoints that accepted no connection."""
    silent: list[Endpoint] = field(default_factory=list)
    """Endpoints that did not answer a request in time."""
    received: int = 0
    sent: int = 0
    exceeded: bool = False
    """The byte budget is used up: all connections were closed."""


class EgressProxy:
    """Serves the listeners of one sandbox until it is closed."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        traffic: Traffic,
        max_bytes: int,
        connect: Connect = connect,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.traffic = traffic
        self._policy = policy
        self._max_bytes = max_bytes
        self._connect = connect
        self._idle_seconds = idle_seconds
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._threads: list[threading.Thread] = []

    def serve(self, control: socket.socket, targets: Sequence[Endpoint | None]) -> None:
        """Receive one listener per target over `control`, and serve them in threads.

        The target None is the SOCKS5 proxy. Returns at once. `close` stops the threads and closes
        `control`.
        """
        self._spawn(self._listen, control, targets)

    def close(self) -> None:
        """Close all listeners and connections. Threads that still resolve a name end later."""
        self._closing.set()
        self._end_connections()
        until = time.monotonic() + CLOSE_SECONDS
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="egress", daemon=True)
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _listen(self, control: socket.socket, targets: Sequence[Endpoint | None]) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.enter_context(self._tracked(control))
            control.settimeout(HANDSHAKE_SECONDS)
            _, numbers, _, _ = socket.recv_fds(control, 1, len(targets))
            made = [socket.socket(fileno=each) for each in numbers]
            listeners = [stack.enter_context(self._tracked(each)) for each in made]
            if len(listeners) != len(targets):
                return
            selector = stack.enter_context(selectors.DefaultSelector())
            for listener, target in zip(listeners, targets, strict=True):
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ, (listener, target))
            while not self._closing.is_set():
                for key, _ in selector.select(ACCEPT_SECONDS):
                    self._accept(*key.data)

    def _accept(self, listener: socket.socket, target: Endpoint | None) -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            if self._places.acquire(blocking=False):
                self._spawn(self._answer, client, target)
            else:
                client.close()

    def _answer(self, client: socket.socket, target: Endpoint | None) -> None:
        try:
            with self._tracked(client), suppress(OSError, EOFError, struct.error):
                if target is None:
                    self._answer_socks(client)
                else:
                    with self._tracked(self._reach(*target)) as remote:
                        self._relay(client, remote, target)
        finally:
            self._places.release()

    def _answer_socks(self, client: socket.socket) -> None:
        client.settimeout(HANDSHAKE_SECONDS)
        version, methods = _take(client, 2)
        _take(client, methods)
        if version != VERSION:
            return
        client.sendall(bytes([VERSION, NO_AUTHENTICATION]))
        _, command, _, kind = _take(client, 4)
        host = _read_host(client, kind)
        (port,) = struct.unpack("!H", _take(client, 2))
        if command != CONNECT:
            client.sendall(_reply(BAD_COMMAND))
            return
        try:
            remote = self._reach(host, port)
        except AddressRefused:
            client.sendall(_reply(NOT_ALLOWED))
        except NameUnknown:
            client.sendall(_reply(UNREACHABLE))
        except OSError:
            client.sendall(_reply(REFUSED))
        else:
            with self._tracked(remote):
                client.sendall(_reply(SUCCEEDED))
                self._relay(client, remote, (host, port))

    def _reach(self, host: str, port: int) -> socket.socket:
        """Connect to the first allowed address that accepts.

        Raises AddressRefused, NameUnknown, or ConnectionRefusedError if no address accepts.
        """
        try:
            addresses = self._policy.addresses(host, port)
        except AddressRefused:
            self._note(self.traffic.refused, host, port)
            raise
        except NameUnknown:
            self._note(self.traffic.unknown, host, port)
            raise
        for address in addresses:
            if self._closing.is_set():
                break
            with suppress(OSError):
                return self._connect(address, port, CONNECT_SECONDS)
        self._note(self.traffic.unreachable, host, port)
        raise ConnectionRefusedError(host)

    def _note(self, faults: list[Endpoint], host: str, port: int) -> None:
        with self._lock:
            if len(faults) < MAX_FAULTS and (host, port) not in faults:
                faults.append((host, port))

    def _relay(self, client: socket.socket, remote: socket.socket, place: Endpoint) -> None:
        """Copy in both directions until both ends close, both are idle or the budget is used."""
        asked = False
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with selectors.DefaultSelector() as selector:
            for source, other in ((client, remote), (remote, client)):
                source.settimeout(self._idle_seconds)
                selector.register(source, selectors.EVENT_READ, (source, other))
            while selector.get_map() and not self._closing.is_set():
                ready = selector.select(self._idle_seconds)
                if not ready:
                    if asked:
                        self._note(self.traffic.silent, *place)
                    return
                for key, _ in ready:
                    source, other = key.data
                    size = source.recv_into(buffer)
                    if not size:
                        selector.unregister(source)
                        other.shutdown(socket.SHUT_WR)
                        continue
                    asked = source is client
                    self._count(size, received=not asked)
                    other.sendall(buffer[:size])

    def _count(self, size: int, *, received: bool) -> None:
        with self._lock:
            if received:
                self.traffic.received += size
            else:
                self.traffic.sent += size
            self.traffic.exceeded |= self.traffic.received + self.traffic.sent > self._max_bytes
        if self.traffic.exceeded:
            self._closing.set()
            self._end_connections()
            raise ConnectionAbortedError("budget used")

    def _end_connections(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _tracked(self, connection: socket.socket) -> Iterator[socket.socket]:
        with self._lock:
            self._open.add(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _take(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _read_host(client: socket.socket, kind: int) -> str:
    if kind == IPV4:
        return socket.inet_ntop(socket.AF_INET, _take(client, 4))
    if kind == IPV6:
        return socket.inet_ntop(socket.AF_INET6, _take(client, 16))
    if kind == NAME:
        return _take(client, _take(client, 1)[0]).decode("ascii", errors="replace")
    raise EOFError


def _reply(code: int) -> bytes:
    return bytes([VERSION, code, RESERVED, IPV4, 0, 0, 0, 0, 0, 0])
