"""Where readers of logs look at the database: in a few threads, which keep no connection."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import connection

Given = ParamSpec("Given")
Found = TypeVar("Found")

READERS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="log-reader")


async def in_reader(
    look: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
) -> Found:
    """What `look` returns, called in one of a few threads: readers never starve each other."""

    def looking() -> Found:
        try:
            return look(*args, **kwargs)
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(READERS, looking)
