"""An owner's large layers as they were compressed once, so that no build compresses them again.

The engine asks a layout whether it has a layer under its uncompressed digest, and looks no
further: an empty file by that name keeps it from exporting the layer. Once the build is over and
nobody can write there any more, the kept layer takes the empty file's place and the manifest is
written anew. What an owner's builds compressed is used for that owner alone.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from builds.build_spec import BuildOutcome
from builds.engines.sandbox.folders import Folders
from builds.engines.sandbox.layout import (
    DIGEST,
    LAYER,
    Entry,
    add_blob,
    blob,
    check_folders,
    read_entry,
    read_json,
    write_index,
)
from builds.engines.sandbox.wall import Account

KEEP_BYTES = 1 << 20
KEEP_SECONDS = 14 * 86_400.0


class Layers:
    """Files `<uncompressed digest>.<compressed digest>`, both in hex, in a folder per owner."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._root = folders.root / "layers"

    def known(self, owner_id: UUID) -> dict[str, Path]:
        """The kept layers by their uncompressed digest."""
        return {
            f"sha256:{file.name.partition('.')[0]}": file
            for file in (self._root / str(owner_id)).glob("*.*")
        }

    def stand_in(self, layout: Path, known: Iterable[str], account: Account) -> None:
        """Prepare a layout in which those layers seem to be."""
        folder = layout / "blobs/sha256"
        self._folders.create(account, [layout, layout / "blobs", folder])
        for digest in known:
            blob(layout, digest).touch()

    def fill_in(self, layout: Path, known: dict[str, Path]) -> frozenset[str]:
        """Put the kept layers in their places; return their digests, which need no check.

        Raises LayoutError, or whatever else a layout that is none makes of it.
        """
        check_folders(layout)
        placed: dict[str, Entry] = {}
        entry = read_entry(layout)
        manifest = read_json(blob(layout, entry["digest"]))
        for layer in manifest["layers"]:
            if (file := known.get(layer["digest"])) is not None:
                digest = f"sha256:{file.name.partition('.')[2]}"
                placed[digest] = {
                    "mediaType": LAYER,
                    "digest": digest,
                    "size": file.stat().st_size,
                }
                _link(file, blob(layout, digest))
                os.utime(file)
                layer.update(placed[digest])
        for name in known:
            blob(layout, name).unlink(missing_ok=True)
        if placed:
            blob(layout, entry["digest"]).unlink()
            write_index(layout, add_blob(layout, entry["mediaType"], manifest))
        return frozenset(placed)

    def keep(self, owner_id: UUID, outcome: BuildOutcome) -> None:
        """Keep the large layers of a finished image."""
        manifest = read_json(blob(outcome.layout, outcome.digest))
        config = read_json(blob(outcome.layout, manifest["config"]["digest"]))
        known = self.known(owner_id)
        folder = self._root / str(owner_id)
        for diff_id, layer in zip(config["rootfs"]["diff_ids"], manifest["layers"], strict=True):
            if not DIGEST.fullmatch(diff_id):
                continue
            if layer["size"] >= KEEP_BYTES and diff_id not in known and layer["mediaType"] == LAYER:
                folder.mkdir(parents=True, exist_ok=True)
                name = f"{_hex(diff_id)}.{_hex(layer['digest'])}"
                _link(blob(outcome.layout, layer["digest"]), folder / name)

    def drop_unused(self) -> None:
        """Remove what no build has used for long."""
        oldest = time.time() - KEEP_SECONDS
        for file in self._root.glob("*/*.*"):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)

    def forget(self, owner_id: UUID) -> None:
        shutil.rmtree(self._root / str(owner_id), ignore_errors=True)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK}:
            raise
        shutil.copyfile(source, target)
