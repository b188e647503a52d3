"""Chunks of lines as the database has them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from builds.logs.lines import LogLine
from builds.logs.store import decode, encode

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_builds_in_many_threads_do_not_spoil_each_others_chunks() -> None:
    logs = [
        [LogLine(stream="stdout", text=f"{n} {at} {'x' * 90}", at=AT) for at in range(1_000)]
        for n in range(8)
    ]

    def written(n: int) -> bool:
        return all(decode(encode(logs[n])) == logs[n] for _ in range(10))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(written, range(8)))
