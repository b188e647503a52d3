"""Verifies finished images and links them out of the folder that buildx writes to.

That folder is one OCI layout per owner and slot. It is kept between builds, so that unchanged
layers are not written again. buildx does not verify existing blobs, so every blob of an image is
hashed once before it is used. Each attempt gets its own layout with hard links to its image only.
"""

import hashlib
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

from builds.build_spec import BuildOutcome
from builds.engines.sandbox.layout import (
    MALFORMED,
    Entry,
    LayoutError,
    blob,
    check_folders,
    read_entry,
    read_json,
    write_index,
)

MOST_LAYERS = 1_000
_Seen = tuple[int, int, int]


@dataclass(slots=True)
class Output:
    """One builder's output folder. One build at a time writes to it."""

    folder: Path
    _checked: dict[str, _Seen] = field(default_factory=dict)
    """Inode, size and modification time (ns) of each blob whose digest was verified."""

    @property
    def layout(self) -> Path:
        return self.folder / "layout"

    def begin(self) -> None:
        """Prepare for a build: remove the index of the previous image, and keep its blobs."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.layout / "index.json").unlink(missing_ok=True)

    def written_since(self, began: float) -> int:
        """Bytes on disk in files written since `began`, in seconds since 1970."""
        total = 0
        for folder in (self.layout / "blobs/sha256", *(self.layout / "ingest").glob("*")):
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        if found.st_mtime >= began:
                            total += found.st_blocks * 512
        return total

    def drop(self) -> None:
        """Remove every blob: the next build writes its whole image."""
        self._checked.clear()
        rmtree(self.folder, ignore_errors=True)

    def drop_unused(self, before: float) -> None:
        """Remove the blobs that no image has used since `before`, in seconds since 1970."""
        for path in (self.layout / "blobs/sha256").glob("*"):
            with suppress(OSError):
                if path.lstat().st_atime < before:
                    path.unlink()

    def take(self, into: Path) -> BuildOutcome:
        """Verify the image that a build has just written, and link it into a new layout `into`.

        Raises LayoutError if the image is damaged or incomplete.
        """
        try:
            check_folders(self.layout)
            entry = read_entry(self.layout)
            manifest = read_json(blob(self.layout, entry["digest"]))
            # BuildKit writes `null` for an image without layers.
            parts: list[Entry] = [manifest["config"], *(manifest["layers"] or [])]
            if len(parts) > MOST_LAYERS:
                raise LayoutError(f"an image of more than {MOST_LAYERS} layers")
            (into / "blobs/sha256").mkdir(parents=True)
            for part in {part["digest"]: part for part in [entry, *parts]}.values():
                self._take_blob(part, into)
            (into / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            write_index(into, entry)
            size = sum(int(part["size"]) for part in parts)
        except MALFORMED as error:
            raise LayoutError(f"not an OCI layout: {error!r}") from error
        return BuildOutcome(layout=into, digest=entry["digest"], size_bytes=size)

    def _take_blob(self, part: Entry, into: Path) -> None:
        digest = part["digest"]
        path, target = blob(self.layout, digest), blob(into, digest)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size != part["size"]:
                raise LayoutError(f"{digest} is not a file of the recorded size")
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._checked.get(digest) != seen:
                if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                    raise LayoutError(f"{digest} is not what its name says")
                self._checked[digest] = seen
            os.utime(fd, ns=(time.time_ns(), found.st_mtime_ns))
            os.link(path, target, follow_symlinks=False)
