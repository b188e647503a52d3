"""Thread pool for database reads of log readers. Its threads keep no connection."""

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
    """Run `look` in the thread pool and return its result. The small pool limits connections."""

    def looking() -> Found:
        try:
            return look(*args, **kwargs)
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(READERS, looking)
