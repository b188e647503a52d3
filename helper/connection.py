"""One connection to the helper: short commands, or one builder, which ends with the connection."""

import fcntl
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from uuid import UUID

from helper.boot_marks import BootMark
from helper.builder import Builder, Disk
from helper.caches import cache_name
from helper.control_groups import ControlGroup, Usage
from helper.output_log import OutputLog
from helper.protocol import (
    LISTED,
    MAX_DESCRIPTORS,
    MESSAGE_BYTES,
    DropCache,
    GetUsage,
    Info,
    Kill,
    ListCaches,
    Refused,
    SetLimits,
    StartBuilder,
    Trim,
    encode,
    parse,
)
from helper.removal import Emptying, Removal
from helper.sandbox import DOCKERD
from helper.sandboxes import Sandboxes

BUILDER_DESCRIPTORS = 2


@dataclass(slots=True, kw_only=True)
class Start:
    """A builder from its request until it is completely removed."""

    request: StartBuilder
    name: str
    listener: int
    log: OutputLog
    cache: str = ""
    """"new", "kept" or "recreated" for a cache folder. Images report it when they are mounted."""
    group: ControlGroup | None = None
    builder: Builder | None = None


class Connection:
    """Handles the requests of one client. `closed` is called when the connection is closed."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        end: socket.socket,
        closed: Callable[["Connection"], None],
    ) -> None:
        self._sandboxes = sandboxes
        self._end = end
        self._closed = closed
        self._start: Start | None = None
        self._closing = self._kill_asked = self._removing = False
        sandboxes.loop.watch(end.fileno(), self._read)

    def close(self) -> None:
        """Kill the builder, and close the socket when it is completely removed."""
        if self._closing:
            return
        self._closing = True
        self._sandboxes.loop.unwatch(self._end.fileno())
        if self._start is not None and self._start.builder is not None:
            self._start.builder.kill()
        self._close_if_idle()

    def started(self, pid: int, cache: str) -> None:
        own = self._start.cache if self._start is not None else ""
        self._answer({"ok": True, "pid": pid, "cache": own or cache})

    def failed(self, code: str, text: str) -> None:
        self._answer({"error": code, "text": text})

    def gone(self, exit_code: int) -> None:
        start = self._start
        if start is None:
            return
        self._release(start)
        self._write_out(start.name)
        if self._kill_asked:
            self._kill_asked = False
            self._answer({"killed": True})
        else:
            usage, disk = Usage(), Disk()
            if start.builder is not None:
                usage, disk = start.builder.last_usage, start.builder.last_disk
            self._answer({"exited": exit_code, "usage": _usage(usage, disk)})
        self._close_if_idle()

    def _answer(self, answer: dict[str, object]) -> None:
        try:
            self._end.send(encode(answer))
        except OSError:  # closed, or a client that does not read
            self.close()

    def _close_if_idle(self) -> None:
        if self._closing and self._start is None and not self._removing:
            self._end.close()
            self._closed(self)

    def _read(self) -> None:
        fds: list[int] = []
        try:
            data, fds, flags, _ = socket.recv_fds(
                self._end, MESSAGE_BYTES + 1, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, flags = b"", 0
        try:
            if not data:
                self.close()
                return
            _check_size(data, flags)
            self._handle(data, fds)
        except Refused as refused:
            self._answer({"error": refused.code, "text": refused.text})
        except OSError as error:
            self._answer({"error": "helper", "text": str(error)[:500]})
        finally:
            for fd in fds:
                os.close(fd)

    def _handle(self, data: bytes, fds: list[int]) -> None:
        request = parse(data)
        if fds and not isinstance(request, StartBuilder):
            raise Refused("malformed", "Descriptors that the request does not take.")
        if self._removing:
            raise Refused("busy", "The last request is not answered yet.")
        match request:
            case Info():
                self._answer(self._info())
            case ListCaches(after):
                self._answer(self._caches(after))
            case DropCache(owner):
                self._remove(owner)
            case StartBuilder():
                self._begin(request, fds)
            case Kill():
                self._kill()
            case _:
                self._handle_running(request, self._running())

    def _handle_running(self, request: SetLimits | GetUsage | Trim, start: Start) -> None:
        match request:
            case SetLimits(limits):
                if start.group is not None:
                    start.group.set_limits(limits)
                self._answer({"ok": True})
            case GetUsage():
                self._answer(self._usage(start))
            case Trim():
                if start.builder is not None:
                    start.builder.trim()
                self._answer({"ok": True})

    def _info(self) -> dict[str, object]:
        machine = self._sandboxes.machine
        return {
            "root": machine.is_root,
            "limits": machine.limits,
            "cache_images": machine.cache_images,
            "network": machine.network,
            "problems": list(machine.problems),
        }

    def _begin(self, request: StartBuilder, fds: list[int]) -> None:
        caches, machine = self._sandboxes.caches, self._sandboxes.machine
        if self._start is not None:
            raise Refused("busy", "This connection has a builder.")
        listener, log = _check_descriptors(fds)
        if request.network and not machine.network:
            raise Refused("network", "Builds cannot have a network on this machine.")
        name = cache_name(request.owner, request.slot)
        caches.acquire(name)
        start = Start(
            request=request, name=name, listener=os.dup(listener), log=OutputLog(os.dup(log))
        )
        self._start = start
        try:
            first_id = caches.first_id(request.owner)
            if machine.cache_images:
                self._launch(start)
            elif caches.make_folder(name, first_id):
                start.cache = "new"
                self._launch(start)
            elif BootMark(caches.fd, name).is_of_another_boot():
                start.cache = "recreated"
                Emptying(self._sandboxes, name, request.owner, lambda: self._emptied(start))
            else:
                start.cache = "kept"
                self._launch(start)
        except (Refused, OSError):
            self._release(start)
            raise

    def _emptied(self, start: Start) -> None:
        try:
            caches = self._sandboxes.caches
            caches.remove_empty(start.name)
            caches.make_folder(start.name, caches.first_id(start.request.owner))
            self._launch(start)
        except Refused as refused:
            self.failed(refused.code, refused.text)
            self.gone(1)
        except OSError as error:
            self.failed("cache", str(error)[:500])
            self.gone(1)
        else:
            if (self._closing or self._kill_asked) and start.builder is not None:
                start.builder.kill()

    def _launch(self, start: Start) -> None:
        sandboxes, request = self._sandboxes, start.request
        images = sandboxes.machine.cache_images
        if not images:  # the mark of an image is set when it is mounted
            BootMark(sandboxes.caches.fd, start.name).set()
        start.group = sandboxes.make_group(request.limits)
        plan = sandboxes.plan(
            start.name,
            sandboxes.caches.first_id(request.owner),
            command=DOCKERD,
            image_bytes=request.cache_bytes if images else None,
            network=request.network,
            deny=request.deny,
            group=start.group,
        )
        start.builder = Builder(
            sandboxes.loop,
            plan,
            group=start.group,
            listener=start.listener,
            log=start.log,
            events=self,
        )

    def _release(self, start: Start) -> None:
        """Release the builder's group, descriptors, cache and ids."""
        if start.group is not None:
            start.group.remove()
        start.log.close()
        if start.listener >= 0:
            os.close(start.listener)
        self._sandboxes.caches.release(start.name)
        self._sandboxes.caches.forget(start.request.owner)
        self._start = None

    def _usage(self, start: Start) -> dict[str, object]:
        if start.builder is None:
            raise Refused("no-builder", "The builder of this connection has not started yet.")
        return _usage(start.builder.usage(), start.builder.disk())

    def _running(self) -> Start:
        if self._start is None:
            raise Refused("no-builder", "This connection has no builder.")
        return self._start

    def _kill(self) -> None:
        if self._start is None:
            self._answer({"killed": True})
            return
        self._kill_asked = True
        if self._start.builder is not None:
            self._start.builder.kill()

    def _remove(self, owner: UUID) -> None:
        self._removing = True
        try:
            Removal(self._sandboxes, owner, self._removed)
        except (Refused, OSError):
            self._removing = False
            raise

    def _removed(self, complete: bool) -> None:
        text = "A cache could not be removed."
        self._removing = False
        self._answer({"ok": True} if complete else {"error": "remove", "text": text})
        self._close_if_idle()

    def _caches(self, after: str) -> dict[str, object]:
        caches = self._sandboxes.caches
        found = sorted((each for each in caches.all() if each.name > after), key=lambda c: c.name)
        listed = [
            {
                "owner": str(cache.owner),
                "bytes": cache.bytes,
                "used_at": cache.used_at,
                "in_use": caches.is_used(cache.name),
            }
            for cache in found[:LISTED]
        ]
        last = found[LISTED - 1].name if len(found) > LISTED else None
        return {"caches": listed, "next": last}

    def _write_out(self, name: str) -> None:
        """Write the cache to disk in the background. If it was used again, its mark stays."""
        caches = self._sandboxes.caches
        use = caches.use(name)

        def work() -> None:
            with suppress(FileNotFoundError):
                caches.write_out(name)

        def ended(code: int) -> None:
            if code == 0 and caches.use(name) == use:
                BootMark(caches.fd, name).clear()

        self._sandboxes.loop.fork(work, ended, {caches.fd})


def _usage(usage: Usage, disk: Disk) -> dict[str, object]:
    return {
        **asdict(usage),
        "disk_size": disk.size,
        "disk_free": disk.free,
        "inodes_free": disk.inodes_free,
        "disk_damaged": disk.damaged,
    }


def _check_size(data: bytes, flags: int) -> None:
    if len(data) > MESSAGE_BYTES or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise Refused("malformed", "The message is too large.")


def _check_descriptors(fds: list[int]) -> tuple[int, int]:
    """Return a listening unix socket for dockerd and a file for its output. Raises Refused."""
    if len(fds) != BUILDER_DESCRIPTORS:
        raise Refused("malformed", "A builder takes two descriptors.")
    listener, log = fds
    if not stat.S_ISSOCK(os.fstat(listener).st_mode) or not stat.S_ISREG(os.fstat(log).st_mode):
        raise Refused("malformed", "The descriptors are not a socket and a file.")
    with socket.socket(fileno=os.dup(listener)) as end:
        listening = end.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if end.family != socket.AF_UNIX or end.type != socket.SOCK_STREAM or not listening:
            raise Refused("malformed", "The socket is not a listening unix stream socket.")
    if fcntl.fcntl(log, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise Refused("malformed", "The file is not writable.")
    return listener, log
