"""The helper's side of one sandbox: starts it, maps its ids, watches it, removes all of it."""

import json
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from helper import sandbox
from helper.control_groups import ControlGroup, Usage
from helper.images import Image, trim
from helper.loop import Loop
from helper.output_log import OutputLog
from helper.sandbox import Plan

MESSAGE_BYTES = 4096
READ_BYTES = 1 << 16


class Events(Protocol):
    """Callbacks for a sandbox. Either `started` or `failed` is called once, then `gone`."""

    def started(self, pid: int, cache: str) -> None: ...

    def failed(self, code: str, text: str) -> None: ...

    def gone(self, exit_code: int) -> None:
        """The sandbox is completely removed: processes, group, mounts and loop device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Sizes in bytes, and the number of free inodes."""

    size: int = 0
    free: int = 0
    inodes_free: int = 0
    damaged: bool = False
    """Whether the kernel found errors in the cache image's file system."""


class Builder:
    """One sandbox from its start to its removal. `kill` ends it."""

    def __init__(
        self,
        loop: Loop,
        plan: Plan,
        *,
        group: ControlGroup | None,
        listener: int | None,
        log: OutputLog,
        events: Events,
    ) -> None:
        self._loop = loop
        self._plan = plan
        self._group = group
        self._log = log
        self._events = events
        self._cache_fd = -1
        self._cache = ""
        self._at_command = self._told = self._ending = self._session_over = False
        self._exit_code: int | None = None
        self._trimming: int | None = None
        self.last_usage, self.last_disk = Usage(), Disk()
        """Usage and disk when the sandbox ended."""
        self._channel, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output, output = os.pipe2(os.O_CLOEXEC)
        keep = {end.fileno(), output, plan.state_fd}
        if listener is not None:
            keep.add(listener)
        self.pid = loop.fork(
            lambda: sandbox.start(plan, sandbox.Channel(end), listener, output),
            self._reaped,
            keep,
        )
        end.close()
        os.close(output)
        self._channel.setblocking(False)
        os.set_blocking(self._output, False)
        loop.watch(self._channel.fileno(), self._read_channel)
        loop.watch(self._output, self._read_output)

    def kill(self) -> None:
        """Kill all processes. `gone` is called when the sandbox is removed."""
        if self._ending:
            return
        self._ending = True
        self._kill_all()
        self._loop.poll(self._is_gone)

    def trim(self) -> None:
        """Return unused space of the cache image to the host, in the background."""
        if self._cache_fd < 0 or self._plan.image_bytes is None or self._trimming is not None:
            return
        fd = self._cache_fd
        self._trimming = self._loop.fork(lambda: trim(fd), self._trimmed, {fd})

    def _trimmed(self, code: int) -> None:
        del code
        self._trimming = None

    def usage(self) -> Usage:
        """Current usage of the control group. Zeros without one."""
        return self._group.usage() if self._group is not None else Usage()

    def disk(self) -> Disk:
        """The cache image's disk, or the host's file system if the cache is a folder."""
        if self._cache_fd < 0:
            return Disk()
        found = os.fstatvfs(self._cache_fd)
        plan = self._plan
        is_image = plan.image_bytes is not None
        return Disk(
            damaged=is_image and Image(plan.state_fd, plan.cache_name).has_errors(),
            size=found.f_blocks * found.f_frsize,
            free=found.f_bavail * found.f_frsize,
            inodes_free=found.f_favail,
        )

    def _read_channel(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(
                self._channel, MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._close_channel()
            if self._at_command and not self._ending:
                self._tell_started()
            return
        self._hear(json.loads(data), fds)

    def _hear(self, message: dict[str, Any], fds: list[int]) -> None:
        match message["stage"]:
            case "cache":
                self._cache = message["cache"]
                (self._cache_fd,) = fds
            case "ids":
                self._loop.fork(lambda: self._plan.map_ids(self.pid), self._mapped)
            case "command":
                self._at_command = True  # the command runs when the channel is closed
            case "error":
                self._tell_failed(message["error"], message["text"])

    def _mapped(self, code: int) -> None:
        with suppress(OSError):
            self._channel.send(b"mapped" if code == 0 else b"failed")

    def _tell_started(self) -> None:
        if not self._told:
            self._told = True
            self._events.started(self.pid, self._cache)
            self.trim()

    def _tell_failed(self, code: str, text: str) -> None:
        if not self._told:
            self._told = True
            self._events.failed(code, text)

    def _read_output(self) -> None:
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._log.write(data)
        else:
            self._close_output()

    def _reaped(self, code: int) -> None:
        self._exit_code = code
        self.last_usage, self.last_disk = self.usage(), self.disk()
        if self._channel.fileno() >= 0:
            self._read_channel_rest()
        self.kill()

    def _read_channel_rest(self) -> None:
        while self._channel.fileno() >= 0:
            before = self._told
            self._read_channel()
            if self._told == before and self._channel.fileno() >= 0:
                return

    def _kill_all(self) -> None:
        if self._exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
        if self._group is not None:
            self._group.kill()
        for pid in self._members():
            _kill_member(pid, self.pid)

    def _members(self) -> list[int]:
        """Processes of the sandbox's session. Empty after its end: the number may be reused."""
        if self._session_over:
            return []
        found = session_members(self.pid)
        self._session_over = self._exit_code is not None and not found
        return found

    def _is_gone(self) -> bool:
        if self._trimming is not None:  # it keeps the mount in use, as does the descriptor
            os.kill(self._trimming, signal.SIGKILL)
            return False
        if self._cache_fd >= 0:
            os.close(self._cache_fd)
            self._cache_fd = -1
        if self._exit_code is None or self._members():
            self._kill_all()
            return False
        if self._group is not None and not self._group.remove():
            self._group.kill()
            return False
        plan = self._plan
        if plan.image_bytes is not None and not Image(plan.state_fd, plan.cache_name).is_free():
            return False
        self._close_channel()
        if self._output >= 0:
            self._read_output()
        self._close_output()
        self._log.close()
        self._tell_failed("killed", "The sandbox ended before it had started.")
        self._events.gone(self._exit_code)
        return True

    def _close_channel(self) -> None:
        if self._channel.fileno() >= 0:
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.unwatch(self._output)
            os.close(self._output)
            self._output = -1


def session_members(leader: int) -> list[int]:
    """Processes of the session that `leader` created, even if `leader` has ended."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _session(pid) == leader]


def _session(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name in parentheses may contain any character.
            return int(file.read().rpartition(b")")[2].split()[3])
    except (OSError, IndexError, ValueError):
        return -1


def _kill_member(pid: int, leader: int) -> None:
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if _session(pid) == leader:  # still the same process
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
