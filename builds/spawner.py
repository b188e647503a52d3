"""A long-lived thread that starts all child processes.

The parent-death signal is bound to the forking thread, not to the process: a child started by a
worker thread would be killed when that thread ends.
"""

import os
import queue
import subprocess  # noqa: TID251  (this is the one place for it)
import threading
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PIPE = subprocess.PIPE
Started = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    argv: list[str]
    env: dict[str, str]
    cwd: Path | None
    pass_fds: Collection[int]
    output: IO[bytes] | int
    child: Future[Started] = field(default_factory=Future)


def start(
    argv: list[str],
    *,
    env: dict[str, str],
    cwd: Path | None,
    pass_fds: Collection[int],
    output: IO[bytes] | int,
) -> Started:
    """Start `argv` in its own session, with empty stdin and both streams to `output`."""
    wish = _Wish(argv=argv, env=env, cwd=cwd, pass_fds=pass_fds, output=output)
    _spawner.take(wish)
    try:
        return wish.child.result()
    except KeyboardInterrupt:
        wish.child.add_done_callback(lambda child: child.result().kill())
        raise


class _Spawner:
    def __init__(self) -> None:
        self._reset()
        # A forked process inherits this object, but not its thread.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._wishes: queue.SimpleQueue[_Wish] | None = None

    def take(self, wish: _Wish) -> None:
        with self._lock:
            if self._wishes is None:
                self._wishes = queue.SimpleQueue()
                threading.Thread(
                    target=_serve, args=[self._wishes], name="spawner", daemon=True
                ).start()
            self._wishes.put(wish)


def _serve(wishes: queue.SimpleQueue[_Wish]) -> None:
    while True:
        wish = wishes.get()
        try:
            wish.child.set_result(
                subprocess.Popen(
                    wish.argv,
                    env=wish.env,
                    cwd=wish.cwd,
                    pass_fds=wish.pass_fds,
                    stdin=subprocess.DEVNULL,
                    stdout=wish.output,
                    stderr=wish.output,
                    start_new_session=True,
                )
            )
        except Exception as error:  # noqa: BLE001  (raised in the caller of `start`)
            wish.child.set_exception(error)


_spawner = _Spawner()
