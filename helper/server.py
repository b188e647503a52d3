"""The helper's socket: who may connect, what each request does, and what a closed one ends."""

import hashlib
import itertools
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from helper.caches import Caches
from helper.connection import Connection
from helper.control_groups import left_groups, remove_installation
from helper.folders import lock_folder, open_private_folder
from helper.id_maps import map_range, map_subordinate
from helper.id_ranges import IdRanges, taken_ranges
from helper.loop import POLL_SECONDS, Loop
from helper.machine import examine, subordinate_ids
from helper.protocol import Refused
from helper.sandbox import Plan

SOCKET = "helper.sock"
BACKLOG = 64
CONNECTIONS = 512
CREDENTIALS = struct.Struct("iii")


class Server:
    """One helper of one data directory."""

    def __init__(
        self, data_dir: Path, engine_root: Path, *, service_uid: int, service_gid: int
    ) -> None:
        is_root = os.geteuid() == 0
        self.engine_root = engine_root
        self.loop = Loop()
        self._service = (service_uid, service_gid)
        self._data_dir = data_dir
        folder = data_dir / "helper"
        folder_fd = open_private_folder(data_dir, "helper")
        self._lock = lock_folder(folder_fd)
        ids = IdRanges(folder_fd, taken_ranges()) if is_root else None
        self.caches = Caches(folder, folder_fd, ids)
        self.installation = f"slipway-{hashlib.sha256(bytes(data_dir)).hexdigest()[:12]}"
        self.machine = examine(engine_root, folder_fd)
        self.numbers = itertools.count(1)
        self._connections: set[Connection] = set()
        self._stopping = False

    def serve(self, *, lifeline: int | None, ready: int | None) -> None:
        """Serve until SIGTERM, or until the other end of the pipe `lifeline` is closed.

        Writes to the pipe `ready` when clients can connect.
        """
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for whoever started the helper
        self._end_left_groups()
        self.caches.clean()
        listener, run_fd = self._listen()
        self.loop.watch(listener.fileno(), lambda: self._accept(listener))
        if lifeline is not None:
            self.loop.watch(lifeline, lambda: self._end_lifeline(lifeline))
        if ready is not None:
            os.write(ready, b"1")
            os.close(ready)
        self.loop.run(lambda: self._stopping)
        self.loop.unwatch(listener.fileno())
        with suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=run_fd)
        listener.close()
        for connection in list(self._connections):
            connection.close()
        self.loop.run(lambda: not self._connections)
        remove_installation(self.installation, self.machine.hierarchies)

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def plan(
        self,
        name: str,
        first_id: int,
        *,
        command: tuple[str, ...],
        image_bytes: int | None = None,
        network: bool = False,
        deny: tuple[str, ...] = (),
        groups: tuple[Path, ...] = (),
    ) -> Plan:
        """How to start a sandbox with that cache."""
        return Plan(
            helper_pid=os.getpid(),
            is_root=self.machine.is_root,
            engine_root=self.engine_root,
            state=self.caches.folder,
            state_fd=self.caches.fd,
            cache_name=name,
            image_bytes=image_bytes,
            mkfs=self.machine.mkfs,
            first_id=first_id,
            map_ids=self._map_ids(first_id),
            network=network,
            deny=deny,
            groups=groups,
            command=command,
        )

    def _map_ids(self, first_id: int) -> Callable[[int], None]:
        if self.machine.is_root:
            return lambda pid: map_range(pid, first_id)
        subordinate = subordinate_ids()
        if subordinate is None:
            raise Refused("sandbox", "This user has no 65,535 subordinate ids.")
        return lambda pid: map_subordinate(pid, (os.geteuid(), os.getegid()), subordinate)

    def _end_left_groups(self) -> None:
        groups = left_groups(self.installation, self.machine.hierarchies)

        def are_gone() -> bool:
            for group in groups:
                group.kill()
            return all([group.remove() for group in groups])

        while not are_gone():
            time.sleep(POLL_SECONDS)

    def _listen(self) -> tuple[socket.socket, int]:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        uid, gid = self._service
        # As the service user: what lies in its folder must not lead root anywhere.
        if self.machine.is_root:
            os.setegid(gid)
            os.seteuid(uid)
        try:
            umask = os.umask(0o077)
            run_fd = open_private_folder(self._data_dir, "run")
            with suppress(FileNotFoundError):
                os.unlink(SOCKET, dir_fd=run_fd)
            listener.bind(f"/proc/self/fd/{run_fd}/{SOCKET}")
            os.umask(umask)
        finally:
            if self.machine.is_root:
                os.seteuid(0)
                os.setegid(0)
        listener.listen(BACKLOG)
        return listener, run_fd

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
        self._connections.add(Connection(self, end))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True

    def _end_lifeline(self, lifeline: int) -> None:
        if not os.read(lifeline, 1):
            self._stopping = True
            self.loop.unwatch(lifeline)
