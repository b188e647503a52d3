"""Calls made at the same moment, each in a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

A = TypeVar("A")
R = TypeVar("R")


def at_once(call: Callable[[A], R], *arguments: A) -> list[R]:
    """What each call returned, in the order of its arguments. Raises what one raised."""
    together = threading.Barrier(len(arguments))

    def one(argument: A) -> R:
        together.wait()
        try:
            return call(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(arguments)) as threads:
        return list(threads.map(one, arguments))
