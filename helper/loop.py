"""Single-threaded event loop: descriptors, forked children and polled conditions."""

import os
import selectors
import signal
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType
from typing import NoReturn

POLL_SECONDS = 0.01

Callback = Callable[[], None]


class Loop:
    """Calls callbacks, which must not block. Run blocking work with `fork`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ended: dict[int, Callable[[int], None]] = {}
        self._polled: list[Callable[[], bool]] = []
        self._wakeup, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        self.watch(self._wakeup, self._wake)

    def run(self, until: Callable[[], bool]) -> None:
        """Handle events until `until` returns True. It is checked after each batch of events."""
        while not until():
            for key, _ in self._selector.select(POLL_SECONDS if self._polled else None):
                if key.fd in self._selector.get_map():  # an earlier callback may have removed it
                    key.data()
            self._polled = [done for done in self._polled if not done()]

    def watch(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` is readable or its other end was closed."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def unwatch(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def poll(self, done: Callable[[], bool]) -> None:
        """Call `done` every POLL_SECONDS or more often until it returns True."""
        self._polled.append(done)

    def has_children(self) -> bool:
        return bool(self._ended)

    def fork(
        self, work: Callable[[], None], ended: Callable[[int], None], keep: Collection[int] = ()
    ) -> int:
        """Run `work` in a child that keeps only the descriptors `keep`. Returns its pid.

        `ended` is called with the exit code: 0, or 1 if `work` failed, or the negative number of
        the signal that killed it.
        """
        pid = os.fork()
        if pid == 0:
            _work(work, {0, 1, 2, *keep})
        self._ended[pid] = ended
        return pid

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._ended.pop(pid, None)  # None: an orphan from a sandbox
            if ended is not None:
                ended(os.waitstatus_to_exitcode(status))


def _work(work: Callable[[], None], keep: set[int]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                with suppress(OSError):
                    os.close(int(name))
        work()
        code = 0
    except Exception as error:  # noqa: BLE001  (the process ends: report any error)
        print(f"slipway-helper: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(code)


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame
