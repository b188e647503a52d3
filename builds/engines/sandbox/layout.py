"""OCI layouts: validates an untrusted one that a build wrote, and writes a small one.

The folder comes from a sandbox, so it may contain anything: links to host files, pipes that never
end, blobs with wrong digests. No process may still write to it.
"""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, TypedDict

from builds.build_spec import BuildOutcome

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SMALL = 16 << 20
FILES = {"index.json", "oci-layout"}
MALFORMED = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class LayoutError(Exception):
    """The folder is not an OCI layout with exactly one valid image."""


class Entry(TypedDict):
    """An OCI descriptor: how one blob refers to another. `size` is in bytes."""

    mediaType: str
    digest: str
    size: int


def read_layout(layout: Path, checked: frozenset[str] = frozenset()) -> BuildOutcome:
    """Verify every file of the layout and describe its image.

    The blobs whose digest is in `checked` are not hashed again. Raises LayoutError.
    """
    try:
        digests = _inspect(layout, checked)
        entry = read_entry(layout)
        manifest = read_json(blob(layout, entry["digest"]))
        parts = [manifest["config"], *manifest["layers"]]
        for part in [entry, *parts]:
            if blob(layout, part["digest"]).stat().st_size != part["size"]:
                raise LayoutError(f"{part['digest']} has another size than recorded")
        wanted = {part["digest"] for part in [entry, *parts]}
    except MALFORMED as error:
        raise LayoutError(f"not an OCI layout: {error!r}") from error
    if wanted != digests:
        raise LayoutError("blobs that the image does not name, or the reverse")
    return BuildOutcome(
        layout=layout,
        digest=entry["digest"],
        size_bytes=sum(int(part["size"]) for part in parts),
    )


def write_layout(layout: Path, *, config: dict[str, Any], layers: list[bytes]) -> BuildOutcome:
    """Write an image of gzipped tar `layers`. Returns the result of `read_layout`."""
    (layout / "blobs/sha256").mkdir(parents=True)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add_blob(layout, CONFIG, config),
        "layers": [add_blob(layout, LAYER, layer) for layer in layers],
    }
    (layout / "oci-layout").write_bytes(_dump({"imageLayoutVersion": "1.0.0"}))
    write_index(layout, add_blob(layout, MANIFEST, manifest))
    return read_layout(layout)


def check_folders(layout: Path) -> None:
    """Raise LayoutError if one of the three folders is something else, such as a link.

    Paths below them are safe afterwards.
    """
    for folder in (layout, layout / "blobs", layout / "blobs/sha256"):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise LayoutError(f"{folder.name} is not a folder")


def read_entry(layout: Path) -> Entry:
    """The index's descriptor of its one image. Raises one of MALFORMED."""
    (entry,) = read_json(layout / "index.json")["manifests"]
    return {"mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"]}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of at most 16 MiB from a regular file. Does not follow links.

    Raises LayoutError or one of MALFORMED.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > SMALL:
            raise LayoutError(f"{path.name} is not a small plain file")
        value = json.loads(file.read())
    if not isinstance(value, dict):
        raise LayoutError(f"{path.name} is not an object")
    return value


def blob(layout: Path, digest: object) -> Path:
    """The path of a blob. Raises LayoutError for invalid digests, which could leave the folder."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise LayoutError("a digest that is none")
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def add_blob(layout: Path, kind: str, value: bytes | dict[str, Any]) -> Entry:
    data = value if isinstance(value, bytes) else _dump(value)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob(layout, digest).write_bytes(data)
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def write_index(layout: Path, entry: Entry) -> None:
    (layout / "index.json").unlink(missing_ok=True)
    (layout / "index.json").write_bytes(_dump({"schemaVersion": 2, "manifests": [entry]}))


def _inspect(layout: Path, checked: frozenset[str]) -> set[str]:
    """The digests of all blobs. Raises LayoutError for unexpected files and wrong digests."""
    check_folders(layout)
    for folder, expected in ((layout, FILES | {"blobs"}), (layout / "blobs", {"sha256"})):
        if set(os.listdir(folder)) != expected:  # noqa: PTH208  (names, not paths)
            raise LayoutError(f"unexpected or missing files in {folder.name}")
    for path in [*(layout / name for name in FILES), *(layout / "blobs/sha256").iterdir()]:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise LayoutError(f"{path.name} is not a plain file")
    digests = set()
    for path in (layout / "blobs/sha256").iterdir():
        digest = f"sha256:{path.name}"
        if digest not in checked:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                    raise LayoutError(f"the blob {path.name} is not what its name says")
        digests.add(digest)
    return digests


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
