"""OCI layouts: reading one that a build wrote, trusting nothing, and writing a small one.

The folder comes out of the sandbox, so it may hold anything: links to host files, pipes that
never end, blobs that are not what their name says.
"""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from builds.orders import BuildOutcome

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SMALL = 16 << 20
FILES = {"index.json", "oci-layout"}


class LayoutError(Exception):
    """What a build left is not an OCI layout holding one image."""


def read_layout(layout: Path) -> BuildOutcome:
    """Check every file of the layout and say what it holds.

    Nobody may write there any more. Raises LayoutError.
    """
    try:
        digests = _inspect(layout)
        index = _parse(layout / "index.json")
        (entry,) = index["manifests"]
        manifest_digest = _reference(entry)
        manifest = _parse(_blob(layout, manifest_digest))
        parts = [manifest["config"], *manifest["layers"]]
        for part in [entry, *parts]:
            if _blob(layout, _reference(part)).stat().st_size != part["size"]:
                raise LayoutError(f"{part['digest']} has another size than recorded")
        wanted = {_reference(part) for part in [entry, *parts]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise LayoutError(f"not an OCI layout: {error!r}") from error
    if wanted != digests:
        raise LayoutError("blobs that the image does not name, or the reverse")
    return BuildOutcome(
        layout=layout, digest=manifest_digest, size_bytes=sum(int(part["size"]) for part in parts)
    )


def write_layout(layout: Path, *, config: dict[str, Any], layers: list[bytes]) -> BuildOutcome:
    """Write an image of gzipped tar `layers` and return what `read_layout` will say of it."""
    (layout / "blobs/sha256").mkdir(parents=True)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _add(layout, CONFIG, _dump(config)),
        "layers": [_add(layout, LAYER, layer) for layer in layers],
    }
    index = {"schemaVersion": 2, "manifests": [_add(layout, MANIFEST, _dump(manifest))]}
    (layout / "oci-layout").write_bytes(_dump({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(_dump(index))
    return read_layout(layout)


def _inspect(layout: Path) -> set[str]:
    """The digests of the blobs; everything must be a plain file or folder in its place."""
    digests = set()
    for folder, expected in (
        (layout, FILES | {"blobs"}),
        (layout / "blobs", {"sha256"}),
        (layout / "blobs/sha256", None),
    ):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise LayoutError(f"{folder.name} is not a folder")
        names = set(os.listdir(folder))  # noqa: PTH208  (names, not paths)
        if expected is not None and names != expected:
            raise LayoutError(f"unexpected or missing files in {folder.name}")
        for name in names - {"blobs", "sha256"}:
            if not stat.S_ISREG((folder / name).lstat().st_mode):
                raise LayoutError(f"{name} is not a plain file")
            if expected is None:
                with (folder / name).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if name != digest:
                    raise LayoutError(f"the blob {name} is not what its name says")
                digests.add(f"sha256:{digest}")
    return digests


def _parse(path: Path) -> dict[str, Any]:
    if path.stat().st_size > SMALL:
        raise LayoutError(f"{path.name} is too large")
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise LayoutError(f"{path.name} is not an object")
    return value


def _reference(entry: dict[str, Any]) -> str:
    digest = entry["digest"]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise LayoutError("a digest that is none")
    return digest


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def _add(layout: Path, kind: str, data: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _blob(layout, digest).write_bytes(data)
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
