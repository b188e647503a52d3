"""Reads an OCI layout into one tree of files, as a container would see it, and its config.

For tests: everything is held in memory, and the layout is trusted.
"""

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal

Kind = Literal["file", "dir", "link", "char", "block", "fifo"]
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
XATTR = "SCHILY.xattr."
KINDS: Mapping[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One inode. Hard links are several paths that lead to the same Entry."""

    kind: Kind
    mode: int
    """With the setuid, setgid and sticky bits."""
    owner: str
    """`uid:gid`."""
    mtime: float
    content: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        what = {
            "file": f"{len(self.content)} bytes sha256:{sha256(self.content).hexdigest()[:12]}",
            "link": f"-> {self.target}",
            "char": str(self.device),
            "block": str(self.device),
        }.get(self.kind, "")
        xattrs = f" {self.xattrs}" if self.xattrs else ""
        return f"{self.kind} {self.mode:04o} {self.owner} {what}{xattrs}".replace("  ", " ").strip()


Tree = dict[str, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image: its files by absolute path, and its config as a runtime reads it."""

    tree: Tree
    config: dict[str, Any]
    """The part that runtimes read: Env, Cmd, Labels and the like."""
    platform: str
    history: list[str]
    """`created_by` of each entry, `(empty)` before those without a layer."""
    layers: int


def read_image(layout: Path) -> Image:
    """The only image of a layout."""
    manifest = _manifest(layout, _json(layout / "index.json"))
    config = _json(_blob(layout, manifest["config"]["digest"]))
    tree: Tree = {}
    # `null` in an image without layers.
    layers = manifest["layers"] or []
    for layer in layers:
        apply_layer(tree, _blob(layout, layer["digest"]))
    history = [
        ("(empty) " if each.get("empty_layer") else "") + str(each.get("created_by", ""))
        for each in config.get("history") or []
    ]
    return Image(
        tree=tree,
        config=config.get("config") or {},
        platform=f"{config['os']}/{config['architecture']}",
        history=history,
        layers=len(layers),
    )


def apply_layer(tree: Tree, layer: Path) -> None:
    """Change the tree as a layer says. Whiteouts concern only what lower layers hold."""
    added: Tree = {}
    with tarfile.open(layer, "r:*") as archive:
        for member in archive:
            path = _path(member.name)
            folder, name = path.parent, path.name
            if name == OPAQUE:
                _remove_below(tree, str(folder))
            elif name.startswith(WHITEOUT):
                _remove(tree, str(folder / name.removeprefix(WHITEOUT)))
            elif member.islnk():
                target = str(_path(member.linkname))
                added[str(path)] = added[target] if target in added else tree[target]
            else:
                added[str(path)] = _entry(archive, member)
    for text, entry in added.items():
        if entry.kind != "dir":
            _remove(tree, text)
        tree[text] = entry


def names_of(tree: Tree, path: str) -> list[str]:
    """Every path of the inode at `path`, in order."""
    return sorted(name for name, entry in tree.items() if entry is tree[path])


def _manifest(layout: Path, index: dict[str, Any]) -> dict[str, Any]:
    (descriptor,) = index["manifests"]
    found: dict[str, Any] = _json(_blob(layout, descriptor["digest"]))
    return _manifest(layout, found) if "manifests" in found else found


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _path(name: str) -> PurePosixPath:
    return PurePosixPath("/") / name.lstrip("/")


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kind = KINDS[member.type]
    file = archive.extractfile(member) if kind == "file" else None
    return Entry(
        kind=kind,
        mode=member.mode & 0o7777,
        owner=f"{member.uid}:{member.gid}",
        mtime=member.mtime,
        content=file.read() if file else b"",
        target=member.linkname if kind == "link" else "",
        device=(member.devmajor, member.devminor) if kind in {"char", "block"} else (0, 0),
        xattrs={
            key.removeprefix(XATTR): value
            for key, value in member.pax_headers.items()
            if key.startswith(XATTR)
        },
    )


def _remove(tree: Tree, path: str) -> None:
    tree.pop(path, None)
    _remove_below(tree, path)


def _remove_below(tree: Tree, path: str) -> None:
    prefix = path.rstrip("/") + "/"
    for each in [each for each in tree if each.startswith(prefix) and each != "/"]:
        del tree[each]
