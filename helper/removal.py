"""Removes caches. The helper itself never walks folders that a build has written."""

from collections.abc import Callable
from uuid import UUID

from helper.builder import Builder
from helper.caches import Cache
from helper.images import Image
from helper.output_log import OutputLog
from helper.protocol import Refused
from helper.sandbox import EMPTY_CACHE
from helper.sandboxes import Sandboxes


class Removal:
    """Removes the caches of an owner that no builder uses, one after the other."""

    def __init__(self, sandboxes: Sandboxes, owner: UUID, ended: Callable[[bool], None]) -> None:
        """`ended` is called with whether all were removed.

        Raises Refused("in-use") if builders use all caches.
        """
        self._sandboxes = sandboxes
        self._owner = owner
        self._ended = ended
        self._complete = True
        caches = sandboxes.caches.of(owner)
        self._left = [cache for cache in caches if not sandboxes.caches.is_used(cache.name)]
        if caches and not self._left:
            raise Refused("in-use", "Builders use every cache of this owner.")
        for cache in self._left:
            sandboxes.caches.acquire(cache.name)
        self._next()

    def _next(self) -> None:
        sandboxes = self._sandboxes
        if not self._left:
            sandboxes.caches.forget(self._owner)
            self._ended(self._complete)
            return
        cache = self._left.pop()
        if cache.is_image:
            image = Image(sandboxes.caches.fd, cache.name)
            keep = {sandboxes.caches.fd}
            sandboxes.loop.fork(image.remove, lambda code: self._removed(cache, code == 0), keep)
        else:
            Emptying(sandboxes, cache.name, cache.owner, lambda: self._remove_empty(cache))

    def _remove_empty(self, cache: Cache) -> None:
        try:
            self._sandboxes.caches.remove_empty(cache.name)
        except OSError:
            self._removed(cache, False)
        else:
            self._removed(cache, True)

    def _removed(self, cache: Cache, complete: bool) -> None:
        self._sandboxes.caches.release(cache.name)
        self._complete = self._complete and complete
        self._next()


class Emptying:
    """Empties a cache folder in a sandbox that sees nothing else of the host."""

    def __init__(
        self, sandboxes: Sandboxes, name: str, owner: UUID, ended: Callable[[], None]
    ) -> None:
        """`ended` is called when the sandbox is removed, whether it was successful or not."""
        self._ended = ended
        plan = sandboxes.plan(name, sandboxes.caches.first_id(owner), command=EMPTY_CACHE)
        Builder(sandboxes.loop, plan, group=None, listener=None, log=OutputLog(None), events=self)

    def started(self, pid: int, cache: str) -> None:
        """Nothing to do before it ends."""

    def failed(self, code: str, text: str) -> None:
        """Nothing to do: the caller finds that the folder is not empty."""

    def gone(self, exit_code: int) -> None:
        del exit_code
        self._ended()
