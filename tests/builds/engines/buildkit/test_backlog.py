"""The backlog gives back every byte in order, waits for nobody until it is full, and then does."""

import threading
import time
from pathlib import Path

from builds.engines.buildkit.backlog import MEMORY_BYTES, Backlog


def taken(backlog: Backlog) -> bytes:
    pieces = []
    while (piece := backlog.take(0.01)) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def test_everything_comes_out_in_order_whether_it_was_on_the_disk_or_not(tmp_path: Path) -> None:
    pieces = [bytes([n % 251]) * 65_536 for n in range(3 * MEMORY_BYTES // 65_536)]
    with Backlog(tmp_path) as backlog:
        backlog.fill(pieces)
        assert taken(backlog) == b"".join(pieces)


def test_a_reader_beside_the_writer_misses_nothing(tmp_path: Path) -> None:
    pieces = [f"{n} ".encode() * (n % 50) for n in range(5_000)]
    with Backlog(tmp_path) as backlog:
        writer = threading.Thread(target=backlog.fill, args=[pieces])
        writer.start()
        assert taken(backlog) == b"".join(pieces)
        writer.join()


def test_silence_is_not_the_end(tmp_path: Path) -> None:
    with Backlog(tmp_path) as backlog:
        assert backlog.take(0.01) == b""
        backlog.fill([b"x"])
        assert backlog.take(0.01) == b"x"
        assert backlog.take(0.01) is None


def test_a_full_one_waits_for_its_reader(tmp_path: Path) -> None:
    put: list[int] = []

    def pieces() -> object:
        for n in range(10):
            put.append(n)
            yield b"x" * 100

    with Backlog(tmp_path, most=250) as backlog:
        writer = threading.Thread(target=backlog.fill, args=[pieces()])
        writer.start()
        time.sleep(0.2)
        assert len(put) == 4  # three are in, the fourth waits
        assert len(taken(backlog)) == 1_000
        writer.join()


def test_leaving_frees_a_writer_that_waits(tmp_path: Path) -> None:
    with Backlog(tmp_path, most=10) as backlog:
        writer = threading.Thread(target=backlog.fill, args=[[b"x" * 20, b"y" * 20]])
        writer.start()
        time.sleep(0.05)
        assert writer.is_alive()
    writer.join(5)
    assert not writer.is_alive()
