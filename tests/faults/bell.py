"""A channel layer that throws most of what is sent to groups away, as channel layers may."""

import os
import random
from pathlib import Path
from typing import Any

from channels_redis.core import RedisChannelLayer

from builds.conf import build_settings

LOST = 0.7
FILE = "bells"
"""In the data directory: a byte for each bell, x for one thrown away."""


class LossyLayer(RedisChannelLayer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._chance = random.Random(os.getpid())

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        lost = self._chance.random() < LOST
        with (build_settings().data_dir / FILE).open("a") as file:
            file.write("x" if lost else ".")
        if not lost:
            await super().group_send(group, message)


def share_lost(data_dir: Path) -> tuple[int, float]:
    """How many bells were rung, and the share of them that was thrown away."""
    bells = (data_dir / FILE).read_text()
    return len(bells), bells.count("x") / len(bells)
