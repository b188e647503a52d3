"""Files in a folder of this machine."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

from django.core.files.storage import FileSystemStorage


class Folder(FileSystemStorage):
    """Files below one folder of this machine."""

    shared = False

    def old(self, folder: str, *, before: datetime) -> Iterator[str]:
        """The keys of what was stored in that folder before then."""
        place = self.path(folder)
        if not os.path.isdir(place):  # noqa: PTH112  (as scandir tells paths)
            return
        with os.scandir(place) as entries:
            for each in entries:
                if datetime.fromtimestamp(each.stat().st_mtime, UTC) < before:
                    yield f"{folder}/{each.name}"

    def answer(self) -> None:
        """Raises OSError where nothing can be stored."""
        os.makedirs(self.location, mode=0o700, exist_ok=True)  # noqa: PTH103
        if not os.access(self.location, os.W_OK | os.X_OK):
            raise PermissionError(f"cannot write in {self.location}")
