"""One connection to the helper: short commands, or one builder that lives as long as it does."""

import fcntl
import os
import socket
import stat
from dataclasses import asdict
from typing import TYPE_CHECKING

from helper.builder import Builder
from helper.caches import cache_name
from helper.control_groups import ControlGroup
from helper.images import Image
from helper.output_log import OutputLog
from helper.protocol import (
    MAX_DESCRIPTORS,
    MESSAGE_BYTES,
    DropCache,
    GetUsage,
    Info,
    Kill,
    Limits,
    ListCaches,
    Refused,
    SetLimits,
    StartBuilder,
    encode,
    parse,
)
from helper.removal import Removal
from helper.sandbox import DOCKERD

if TYPE_CHECKING:
    from helper.server import Server

BUILDER_DESCRIPTORS = 2


class Connection:
    """One client: short commands, or one builder that lives as long as the connection."""

    def __init__(self, server: "Server", end: socket.socket) -> None:
        self._server = server
        self._end = end
        self._builder: Builder | None = None
        self._group: ControlGroup | None = None
        self._request: StartBuilder | None = None
        self._name = ""
        self._closing = self._kill_asked = False
        self._busy = False
        server.loop.watch(end.fileno(), self._read)

    def close(self) -> None:
        """Kill the builder; close the socket when nothing of it is left."""
        if self._closing:
            return
        self._closing = True
        self._server.loop.unwatch(self._end.fileno())
        if self._builder is not None:
            self._builder.kill()
        elif not self._busy:
            self._finish()

    def answer(self, answer: dict[str, object]) -> None:
        try:
            self._end.send(encode(answer))
        except OSError:  # closed, or a client that does not read
            self.close()

    def started(self, pid: int, cache: str) -> None:
        self.answer({"ok": True, "pid": pid, "cache": cache})

    def failed(self, code: str, text: str) -> None:
        self.answer({"error": code, "text": text})

    def gone(self, exit_code: int) -> None:
        server, request = self._server, self._request
        assert request is not None  # noqa: S101
        server.caches.release(self._name)
        server.caches.forget(request.owner)
        self._write_out(self._name)
        self._builder = self._group = self._request = None
        if self._kill_asked:
            self._kill_asked = False
            self.answer({"killed": True})
        else:
            self.answer({"exited": exit_code})
        if self._closing:
            self._finish()

    def _finish(self) -> None:
        self._end.close()
        self._server.forget(self)

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
            if len(data) > MESSAGE_BYTES or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise Refused("malformed", "The message is too large.")
            self._handle(data, fds)
        except Refused as refused:
            self.answer({"error": refused.code, "text": refused.text})
        except OSError as error:
            self.answer({"error": "helper", "text": str(error)[:500]})
        finally:
            for fd in fds:
                os.close(fd)

    def _handle(self, data: bytes, fds: list[int]) -> None:
        request = parse(data)
        if fds and not isinstance(request, StartBuilder):
            raise Refused("malformed", "Descriptors that the request does not take.")
        if self._busy:
            raise Refused("busy", "The last request is not answered yet.")
        match request:
            case Info():
                self.answer(self._info())
            case StartBuilder():
                self._start(request, fds)
            case SetLimits(limits):
                self._set_limits(limits)
            case GetUsage():
                self.answer(self._usage())
            case Kill():
                self._kill()
            case DropCache():
                self._drop(request)
            case ListCaches():
                self.answer({"caches": self._caches()})

    def _info(self) -> dict[str, object]:
        machine = self._server.machine
        return {
            "root": machine.is_root,
            "limits": machine.limits,
            "cache_images": machine.cache_images,
            "network": machine.network,
            "problems": list(machine.problems),
        }

    def _start(self, request: StartBuilder, fds: list[int]) -> None:
        server = self._server
        if self._builder is not None:
            raise Refused("busy", "This connection has a builder.")
        listener, log = _check_descriptors(fds)
        if request.network and not server.machine.network:
            raise Refused("network", "Builds cannot have a network on this machine.")
        name = cache_name(request.owner, request.slot)
        server.caches.acquire(name)
        group = None
        try:
            first_id = server.caches.first_id(request.owner)
            if not server.machine.cache_images:
                server.caches.make_folder(name, first_id)
            if server.machine.hierarchies:
                number = next(server.numbers)
                group = ControlGroup(
                    name=f"{server.installation}/{number}", hierarchies=server.machine.hierarchies
                )
                group.create()
                group.set_limits(request.limits)
            self._name, self._group, self._request = name, group, request
            plan = server.plan(
                name,
                first_id,
                command=DOCKERD,
                image_bytes=request.cache_bytes if server.machine.cache_images else None,
                network=request.network,
                deny=request.deny,
                groups=tuple(group.folders) if group is not None else (),
            )
            self._builder = Builder(
                server.loop,
                plan,
                group=group,
                listener=listener,
                log=OutputLog(os.dup(log)),
                events=self,
            )
        except (Refused, OSError):
            if group is not None:
                group.remove()
            server.caches.release(name)
            server.caches.forget(request.owner)
            self._group = self._request = None
            raise

    def _set_limits(self, limits: Limits) -> None:
        if self._builder is None:
            raise Refused("no-builder", "This connection has no builder.")
        if self._group is not None:
            self._group.set_limits(limits)
        self.answer({"ok": True})

    def _usage(self) -> dict[str, object]:
        if self._builder is None:
            raise Refused("no-builder", "This connection has no builder.")
        disk = self._builder.disk()
        return {
            **asdict(self._builder.usage()),
            "disk_size": disk.size,
            "disk_free": disk.free,
            "inodes_free": disk.inodes_free,
        }

    def _kill(self) -> None:
        if self._builder is None:
            self.answer({"killed": True})
            return
        self._kill_asked = True
        self._builder.kill()

    def _drop(self, request: DropCache) -> None:
        self._busy = True
        try:
            Removal(self._server, request.owner, self._removed)
        except (Refused, OSError):
            self._busy = False
            raise

    def _removed(self, complete: bool) -> None:
        text = "A cache could not be removed."
        self._busy = False
        self.answer({"ok": True} if complete else {"error": "remove", "text": text})
        if self._closing:
            self._finish()

    def _caches(self) -> list[dict[str, object]]:
        caches = self._server.caches
        return [
            {
                "owner": str(cache.owner),
                "bytes": cache.bytes,
                "used_at": cache.used_at,
                "in_use": caches.is_used(cache.name),
            }
            for cache in caches.all()
        ]

    def _write_out(self, name: str) -> None:
        """Write the image to the disk in the background, and note it unless it was used again."""
        caches = self._server.caches
        if not self._server.machine.cache_images:
            return
        image = Image(caches.fd, name)
        use = caches.use(name)

        def ended(code: int) -> None:
            if code == 0 and caches.use(name) == use:
                image.unmark()

        self._server.loop.fork(image.write_out, ended, {caches.fd})


def _check_descriptors(fds: list[int]) -> tuple[int, int]:
    """A listening unix socket for dockerd and a file for its output."""
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
