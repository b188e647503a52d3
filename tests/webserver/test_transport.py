"""Messages of websockets as they go over the wire, and connections that write at once."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import main

from webserver.transport import Transport, framed


def parsed(frame: bytes) -> tuple[int, bytes]:
    """The first byte and the payload, as RFC 6455 says."""
    size, at = frame[1], 2
    if size == 126:
        size, at = int.from_bytes(frame[2:4]), 4
    elif size == 127:
        size, at = int.from_bytes(frame[2:10]), 10
    assert len(frame) == at + size
    return frame[0], frame[at:]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_a_message_of_any_size_is_one_whole_frame_of_text(size: int) -> None:
    assert parsed(framed("x" * size)) == (0x81, b"x" * size)


def test_sizes_count_bytes_and_not_characters() -> None:
    assert parsed(framed("é" * 63)) == (0x81, ("é" * 63).encode())


def test_readers_of_the_same_message_share_its_frame() -> None:
    text = "for many" * 100
    assert framed(text) is framed(text)


class Reactor:
    """Notes who wants to be told when there is room."""

    def __init__(self) -> None:
        self.writers: list[object] = []

    def addReader(self, reader: object) -> None:  # noqa: N802 - the names are twisted's
        """Nothing is read here."""

    def addWriter(self, writer: object) -> None:  # noqa: N802
        self.writers.append(writer)

    def removeWriter(self, writer: object) -> None:  # noqa: N802
        self.writers.remove(writer)


class Quiet:
    """A protocol that nobody asks anything."""


Both = tuple[Any, socket.socket]


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def both(reactor: Reactor) -> Iterator[Both]:
    """The server's end of a connection, and its peer's."""
    address: Any = ("127.0.0.1", 1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield Transport(ours, Quiet(), address, None, 1, reactor), theirs


def test_what_the_kernel_takes_is_written_without_asking_the_reactor(
    reactor: Reactor, both: Both
) -> None:
    transport, peer = both
    transport.write(b"one ")
    transport.writeSequence([b"two ", b"three"])
    assert peer.recv(100) == b"one two three"
    assert reactor.writers == []


def test_what_it_does_not_take_waits_and_keeps_its_order(reactor: Reactor, both: Both) -> None:
    transport, peer = both
    sent = [bytes([n]) * 100_000 for n in range(20)]
    for each in sent:
        transport.write(each)
    assert reactor.writers
    came = b""
    while len(came) < 2_000_000:
        came += peer.recv(1 << 20)
        transport.doWrite()
    assert came == b"".join(sent)


def test_a_peer_that_is_gone_is_found_by_the_reactor(reactor: Reactor, both: Both) -> None:
    transport, peer = both
    peer.close()
    transport.write(b"nobody")
    assert reactor.writers == [transport]
    assert transport.doWrite() is main.CONNECTION_LOST
