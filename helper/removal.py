"""Removes all caches of an owner, one after the other."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from helper.builder import Builder
from helper.caches import Cache
from helper.images import Image
from helper.output_log import OutputLog
from helper.protocol import Refused
from helper.sandbox import EMPTY_CACHE

if TYPE_CHECKING:
    from helper.server import Server


class Removal:
    def __init__(self, server: "Server", owner: UUID, ended: Callable[[bool], None]) -> None:
        """Raises Refused("in-use"). `ended` is told whether everything is gone."""
        self._server = server
        self._owner = owner
        self._ended = ended
        self._complete = True
        self._left = server.caches.of(owner)
        if server.caches.is_owner_using(owner):
            raise Refused("in-use", "A builder of this owner runs.")
        for cache in self._left:
            server.caches.acquire(cache.name)
        self._next()

    def _next(self) -> None:
        caches = self._server.caches
        if not self._left:
            caches.forget(self._owner)
            self._ended(self._complete)
            return
        cache = self._left.pop()
        if cache.is_image:
            image = Image(caches.fd, cache.name)
            self._server.loop.fork(
                image.remove, lambda code: self._removed(cache, code == 0), {caches.fd}
            )
        else:
            Emptying(self._server, cache, lambda: self._remove_empty(cache))

    def _remove_empty(self, cache: Cache) -> None:
        try:
            self._server.caches.remove_empty(cache.name)
        except OSError:
            self._removed(cache, False)
        else:
            self._removed(cache, True)

    def _removed(self, cache: Cache, complete: bool) -> None:
        self._server.caches.release(cache.name)
        self._complete = self._complete and complete
        self._next()


class Emptying:
    """A sandbox that empties a cache folder, so that nobody else walks what a build wrote."""

    def __init__(self, server: "Server", cache: Cache, ended: Callable[[], None]) -> None:
        self._ended = ended
        plan = server.plan(cache.name, server.caches.first_id(cache.owner), command=EMPTY_CACHE)
        Builder(server.loop, plan, group=None, listener=None, log=OutputLog(None), events=self)

    def started(self, pid: int, cache: str) -> None:
        """Nothing to do before it ends."""

    def failed(self, code: str, text: str) -> None:
        """Shows when the folder cannot be removed."""

    def gone(self, exit_code: int) -> None:
        del exit_code
        self._ended()
