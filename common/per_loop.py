"""One object per event loop, for shared objects that must not be used across loops."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Calling it returns the object of the running event loop, created on the first call in that
    loop.

    An object that `usable` rejects is created again. Raises RuntimeError outside an event loop.
    """

    def __init__(self, make: Callable[[], T], *, usable: Callable[[T], bool] | None = None) -> None:
        self._make = make
        self._usable = usable
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def __call__(self) -> T:
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None or (self._usable is not None and not self._usable(made)):
            made = self._made[loop] = self._make()
        return made
