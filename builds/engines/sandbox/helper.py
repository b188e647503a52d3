"""Client of the privileged helper, which starts builder sandboxes.

One connection is one builder, or one short command. The builder is killed when its connection
closes, so also when this process dies.
"""

import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from builds.build_spec import Limits

MESSAGE_BYTES = 1 << 22
ANSWER_SECONDS = 30.0
START_SECONDS = 60.0
END_SECONDS = 60.0
DROP_SECONDS = 600.0


class HelperError(Exception):
    """The helper refused a request, or cannot be reached (code "unreachable").

    Codes: "in-use" (another builder has the cache), "network", "cache", "sandbox", "killed",
    "no-ids", "no-builder", "busy", "malformed", "remove", "helper".
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperInfo:
    """What the helper can do on this machine."""

    root: bool
    limits: frozenset[str]
    cache_images: bool
    network: bool
    problems: tuple[str, ...]
    """Each a code, a colon and a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderUsage:
    """Counters of a builder since its start, and its use of memory and disk now."""

    oom_kill: int
    """Processes killed by the memory limit."""
    pids_max: int
    """How often the limit on the number of processes has prevented a new one."""
    memory_bytes: int
    disk_size: int
    """Bytes of the cache image. If caches are folders, these three are of the host's disk."""
    disk_free: int
    inodes_free: int
    disk_damaged: bool
    """Whether the kernel found errors in the cache image's file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """One cache of an owner."""

    owner: UUID
    bytes: int | None
    """Allocated on disk. None for a cache that is a folder."""
    used_at: float
    """In seconds since 1970."""
    in_use: bool


class Helper:
    """Client of the helper that listens on a socket. All methods raise HelperError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def info(self) -> HelperInfo:
        """What the helper can do on this machine."""
        with _Connection(self._path) as connection:
            answer = connection.ask({"op": "info"})
        return HelperInfo(
            root=answer["root"],
            limits=frozenset(answer["limits"]),
            cache_images=answer["cache_images"],
            network=answer["network"],
            problems=tuple(answer["problems"]),
        )

    def start_builder(
        self,
        owner: UUID,
        *,
        listener: int,
        log: int,
        limits: Limits,
        cache_bytes: int,
        network: bool = True,
        deny: Iterable[str] = (),
        slot: int = 0,
    ) -> "Builder":
        """Start dockerd for one owner, listening on the unix socket `listener`.

        Its output goes to the file `log`, at most 1 MiB. Both are file descriptors, which the
        caller closes. Clients may connect at once; they wait until dockerd has started.
        """
        connection = _Connection(self._path)
        request = {
            "op": "builder",
            "owner": str(owner),
            "slot": slot,
            "network": network,
            "deny": list(deny),
            "limits": _limits(limits),
            "cache_bytes": cache_bytes,
        }
        try:
            answer = connection.ask(request, (listener, log), seconds=START_SECONDS)
        except BaseException:
            connection.close()
            raise
        return Builder(connection, pid=answer["pid"], cache=answer["cache"])

    def drop(self, owner: UUID) -> None:
        """Remove the caches of an owner that no builder uses.

        Raises HelperError("in-use") if builders use all of them.
        """
        with _Connection(self._path) as connection:
            connection.ask({"op": "drop", "owner": str(owner)}, seconds=DROP_SECONDS)

    def wait_until_gone(self) -> None:
        """Block until the helper ends for any reason. Raises HelperError if none is running."""
        with _Connection(self._path) as connection:
            connection.wait()

    def caches(self) -> list[CacheInfo]:
        """All caches of this data directory."""
        found: list[CacheInfo] = []
        after: str | None = ""
        with _Connection(self._path) as connection:
            while after is not None:
                answer = connection.ask({"op": "caches", "after": after})
                found += map(_cache_info, answer["caches"])
                after = answer["next"]
        return found


class Builder:
    """A running builder sandbox. Leaving the `with` block ends it."""

    def __init__(self, connection: "_Connection", *, pid: int, cache: str) -> None:
        self._connection = connection
        self.pid = pid
        self.cache = cache
        """"new", "kept", or "recreated" if the old one could not be used."""
        self.exit_code: int | None = None
        """Set once the sandbox is known to have ended by itself."""
        self.last_usage: BuilderUsage | None = None
        """Set together with `exit_code`: the usage when the sandbox ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """A descriptor that becomes readable when the sandbox ends, for selectors."""
        return self._connection.fileno()

    def has_ended(self) -> bool:
        """Whether the sandbox has ended by itself. Never blocks."""
        if self.exit_code is None:
            self._hear_end(self._connection.poll())
        return self.exit_code is not None

    def set_limits(self, limits: Limits) -> None:
        self._ask({"op": "limits", "limits": _limits(limits)})

    def usage(self) -> BuilderUsage:
        """Counters and current usage. Raises HelperError."""
        return BuilderUsage(**self._ask({"op": "usage"}))

    def trim(self) -> None:
        """Return unused space of the cache to the host. Does not wait. Best after a build."""
        self._ask({"op": "trim"})

    def close(self) -> None:
        """Kill the sandbox and wait until all of it is removed. Safe to call twice."""
        self._connection.shut(END_SECONDS)

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        answer = self._connection.ask(request)
        if "exited" in answer:
            self._hear_end(answer)
            raise HelperError("no-builder", "The builder has ended.")
        return answer

    def _hear_end(self, message: Mapping[str, Any] | None) -> None:
        if message is not None and "exited" in message:
            self.exit_code = message["exited"]
            self.last_usage = BuilderUsage(**message["usage"])


class _Connection:
    def __init__(self, path: Path) -> None:
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Socket paths are limited to 107 bytes, and the data directory's may be longer.
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._end.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
        except OSError as error:
            self._end.close()
            raise _unreachable(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._end.close()

    def fileno(self) -> int:
        return self._end.fileno()

    def ask(
        self,
        request: Mapping[str, object],
        fds: Iterable[int] = (),
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        self._end.settimeout(seconds)
        try:
            socket.send_fds(self._end, [json.dumps(request).encode()], list(fds))
            data = self._end.recv(MESSAGE_BYTES)
        except OSError as error:
            raise _unreachable(str(error)) from error
        if not data:
            raise _unreachable("The helper closed the connection.")
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise HelperError(answer["error"], answer["text"])
        return answer

    def poll(self) -> dict[str, Any] | None:
        """The next message, or None if none has arrived. Raises HelperError without a helper."""
        self._end.settimeout(0)
        try:
            data = self._end.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise _unreachable(str(error)) from error
        if not data:
            raise _unreachable("The helper closed the connection.")
        message: dict[str, Any] = json.loads(data)
        return message

    def wait(self) -> None:
        """Block until the helper closes the connection."""
        self._end.settimeout(None)
        with suppress(OSError):
            while self._end.recv(MESSAGE_BYTES):
                pass

    def shut(self, seconds: float) -> None:
        """Close our direction and wait at most `seconds` until the helper closes the other."""
        if self._end.fileno() < 0:
            return
        until = time.monotonic() + seconds
        with suppress(OSError):  # the helper may have ended, and all its builders with it
            self._end.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self._end.settimeout(left)
                if not self._end.recv(MESSAGE_BYTES):
                    break
        self._end.close()


def _cache_info(cache: Mapping[str, Any]) -> CacheInfo:
    return CacheInfo(
        owner=UUID(cache["owner"]),
        bytes=cache["bytes"],
        used_at=cache["used_at"],
        in_use=cache["in_use"],
    )


def _limits(limits: Limits) -> dict[str, object]:
    return {"memory_bytes": limits.memory_bytes, "pids": limits.pids, "cpus": limits.cpus}


def _unreachable(text: str) -> HelperError:
    return HelperError("unreachable", f"The helper does not answer: {text}")
