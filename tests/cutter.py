"""A way to a server that breaks while an answer is under way, as networks do."""

import select
import socket
import struct
import threading
from typing import Self

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection ends at once, and what was on its way is lost."""


class Cutter:
    """A proxy on loopback that cuts one answer about a log after each of the numbers of bytes.

    Cuts are clean and hard in turn. Answers after the last number pass whole. A server that is
    away is a connection that ends at once.
    """

    def __init__(self, port: int, cuts: list[int]) -> None:
        self.cuts = list(cuts)
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=[near], daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near:
            try:
                with socket.create_connection(("127.0.0.1", self._target)) as far:
                    self._carry(near, far)
            except OSError:
                return

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        left: int | None = None
        while True:
            ready, _, _ = select.select([near, far], [], [])
            if near in ready:
                asked = near.recv(65_536)
                if b"/logs" in asked:
                    left = self.cuts.pop(0) if self.cuts else None
                far.sendall(asked)
                if not asked:
                    return
            if far in ready:
                answered = far.recv(65_536)
                near.sendall(answered[:left])
                if left is not None and left <= len(answered):
                    if len(self.cuts) % 2:
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
                if not answered:
                    return
                left = None if left is None else left - len(answered)
