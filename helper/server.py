"""Serves the helper's socket: accepts allowed users, and ends all sandboxes at shutdown."""

import os
import signal
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from helper.caches import Caches
from helper.connection import Connection
from helper.control_groups import left_groups, remove_installation
from helper.folders import installation, lock_folder, open_folder, open_private_folder
from helper.id_ranges import IdRanges, mapped_ranges, taken_ranges
from helper.loop import POLL_SECONDS, Loop
from helper.machine import examine
from helper.sandboxes import Sandboxes

SOCKET = "helper.sock"
BACKLOG = 64
CONNECTIONS = 256
WRITE_OUT_SECONDS = 20.0
CREDENTIALS = struct.Struct("iii")


class Server:
    """The helper of one data directory. Raises FolderError at creation."""

    def __init__(
        self, data_dir: Path, engine_root: Path, *, service_uid: int, service_gid: int
    ) -> None:
        self._data_fd = open_folder(data_dir)
        self._service = (service_uid, service_gid)
        self._connections: set[Connection] = set()
        self._stopping = False
        folder_fd = open_private_folder(self._data_fd, "helper")
        self._lock = lock_folder(folder_fd)
        name = installation(os.fstat(self._data_fd))
        ids = None
        if os.geteuid() == 0:
            ids = IdRanges(folder_fd, taken_ranges(), installation=name, in_use=mapped_ranges)
        self._sandboxes = Sandboxes(
            loop=Loop(),
            caches=Caches(data_dir / "helper", folder_fd, ids),
            machine=examine(engine_root, folder_fd),
            engine_root=engine_root,
            installation=name,
        )

    def serve(self, *, lifeline: int | None, ready: int | None) -> None:
        """Serve until the other end of the pipe `lifeline` is closed, or without one until SIGTERM.

        Writes to the pipe `ready` when clients can connect.
        """
        loop = self._sandboxes.loop
        # A service manager sends SIGTERM to all processes of a service. The process that started
        # the helper handles it: it may need the helper for some seconds to finish its builds.
        signal.signal(signal.SIGTERM, self._stop if lifeline is None else signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the process that started the helper
        self._end_left_groups()
        self._sandboxes.caches.clean()
        listener, run_fd = self._listen()
        loop.watch(listener.fileno(), lambda: self._accept(listener))
        if lifeline is not None:
            loop.watch(lifeline, lambda: self._read_lifeline(lifeline))
        if ready is not None:
            os.write(ready, b"1")
            os.close(ready)
        loop.run(lambda: self._stopping)
        loop.unwatch(listener.fileno())
        with suppress(OSError):
            os.unlink(SOCKET, dir_fd=run_fd)
        listener.close()
        for connection in list(self._connections):
            connection.close()
        loop.run(lambda: not self._connections)
        self._wait_for_the_disk()
        remove_installation(self._sandboxes.installation, self._sandboxes.machine.hierarchies)

    def _wait_for_the_disk(self) -> None:
        """Wait at most WRITE_OUT_SECONDS for caches to be written, so that a reboot keeps them."""
        loop = self._sandboxes.loop
        until = time.monotonic() + WRITE_OUT_SECONDS
        loop.poll(lambda: not loop.has_children())
        loop.run(lambda: not loop.has_children() or time.monotonic() > until)

    def _end_left_groups(self) -> None:
        """Kill the control groups that an earlier helper left, such as half-removed sandboxes."""
        found = self._sandboxes.machine.hierarchies
        groups = left_groups(self._sandboxes.installation, found)
        while groups:
            for group in groups:
                group.kill()
            groups = [group for group in groups if not group.remove()]
            time.sleep(POLL_SECONDS)

    def _listen(self) -> tuple[socket.socket, int]:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        uid, gid = self._service
        changed = uid != os.geteuid()
        if changed:
            self._remove_roots_own_run()
            # As the service user, so that links in its folder cannot misdirect root.
            os.setegid(gid)
            os.seteuid(uid)
        try:
            run_fd = open_private_folder(self._data_fd, "run")
            with suppress(FileNotFoundError):
                os.unlink(SOCKET, dir_fd=run_fd)
            # Through the descriptor, because socket paths are limited to 107 bytes.
            listener.bind(f"/proc/self/fd/{run_fd}/{SOCKET}")
        finally:
            if changed:
                os.seteuid(0)
                os.setegid(0)
        listener.listen(BACKLOG)
        return listener, run_fd

    def _remove_roots_own_run(self) -> None:
        """Remove the folder `run` if an earlier helper created it as root for root."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            run_fd = os.open("run", flags, dir_fd=self._data_fd)
            try:
                if os.fstat(run_fd).st_uid == 0:
                    with suppress(FileNotFoundError):
                        os.unlink(SOCKET, dir_fd=run_fd)
                    os.rmdir("run", dir_fd=self._data_fd)
            finally:
                os.close(run_fd)
        except OSError:
            pass  # there is none, or `open_private_folder` refuses it next

    def _accept(self, listener: socket.socket) -> None:
        try:
            end, _ = listener.accept()
        except OSError:
            return
        raw = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        _, uid, _ = CREDENTIALS.unpack(raw)
        if uid not in {0, self._service[0]} or len(self._connections) >= CONNECTIONS:
            end.close()
            return
        end.setblocking(False)
        self._connections.add(Connection(self._sandboxes, end, self._connections.discard))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True

    def _read_lifeline(self, lifeline: int) -> None:
        if not os.read(lifeline, 1):
            self._sandboxes.loop.unwatch(lifeline)
            self._stopping = True
