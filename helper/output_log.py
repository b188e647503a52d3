"""Writes a sandbox's output to a file of bounded size."""

import os

MAX_BYTES = 1 << 20
KEPT_BYTES = 1 << 16
CUT = b"[earlier lines were removed]\n"


class OutputLog:
    """Keeps the newest output: at `MAX_BYTES` the file is truncated to the last `KEPT_BYTES`."""

    def __init__(self, fd: int | None) -> None:
        """`fd` is closed by `close`. None: the output is discarded."""
        self._fd = fd
        self._size = 0
        self._last = b""

    def write(self, data: bytes) -> None:
        if self._fd is None:
            return
        try:
            if self._size + len(data) > MAX_BYTES:
                os.ftruncate(self._fd, 0)
                os.lseek(self._fd, 0, os.SEEK_SET)
                self._size = 0
                data = CUT + self._last + data
            os.write(self._fd, data)
        except OSError:  # the disk may be full; the sandbox continues
            return
        self._size += len(data)
        self._last = (self._last + data)[-KEPT_BYTES:]

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
