"""Files in a folder of this machine."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

from django.core.files.storage import FileSystemStorage


class Folder(FileSystemStorage):
    """Files below one folder of this machine."""

    shared = False

    def old(self, folder: str, *, before: datetime) -> Iterator[str]:
        """Names of the files in `folder` that were last modified before `before`."""
        place = self.path(folder)
        if not os.path.isdir(place):  # noqa: PTH112  (scandir needs a string)
            return
        with os.scandir(place) as entries:
            for each in entries:
                if datetime.fromtimestamp(each.stat().st_mtime, UTC) < before:
                    yield f"{folder}/{each.name}"

    def answer(self) -> None:
        """Create the folder if it is missing. Raises OSError if it is not writable."""
        os.makedirs(self.location, mode=0o700, exist_ok=True)  # noqa: PTH103
        if not os.access(self.location, os.W_OK | os.X_OK):
            raise PermissionError(f"cannot write in {self.location}")
