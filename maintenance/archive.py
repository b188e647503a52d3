"""The format of a backup: a tar file whose last member has the hash of each member before it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

MANIFEST = "manifest.json"
DATABASE, SETTINGS = "database", "settings.json"
FILES, REGISTRY = "files", "registry"
"""Folders for the files of the storage, and for the registry that Slipway starts."""
FORMAT = 1
PIECE_BYTES = 1024 * 1024


class BadBackup(Exception):
    """The file is not a backup, is damaged, or is not for this version. The text says which."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup contains, and what it was made from."""

    version: str
    """The version of Slipway."""
    made_at: str
    database: str
    """`sqlite` or `postgresql`."""
    migrations: list[str]
    """The migrations that the database had, as `app.name`."""
    members: dict[str, Member] = field(default_factory=dict)
    format: int = FORMAT


class Writer:
    """Writes members to a stream, which need not be seekable."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._tar = tarfile.open(  # noqa: SIM115  (`finish` closes it)
            fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT
        )
        self.members: dict[str, Member] = {}

    def add(self, name: str, content: IO[bytes], size: int) -> None:
        """Raises OSError if the content is shorter than its size."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        hashed = _Hashed(content)
        self._tar.addfile(entry, hashed)
        self.members[name] = Member(size, hashed.digest.hexdigest())

    def add_bytes(self, name: str, content: bytes) -> None:
        self.add(name, io.BytesIO(content), len(content))

    def finish(self, manifest: Manifest) -> None:
        self.add_bytes(MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
        self._tar.close()


class _Hashed:
    """A file that hashes what is read from it."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._content.read(size)
        self.digest.update(data)
        return data


def verify(stream: IO[bytes]) -> Manifest:
    """Reads everything. Raises BadBackup if anything is missing, added or changed."""
    found: dict[str, Member] = {}
    told: dict[str, Any] | None = None
    for name, content in members(stream):
        if told is not None:
            raise BadBackup("something follows its manifest")
        if name == MANIFEST:
            told = json.loads(content.read())
            continue
        if name in found:
            raise BadBackup(f"{name} is in it twice")
        found[name] = _measure(content)
    if told is None:
        raise BadBackup("it has no manifest: it is no backup, or was not finished")
    if told.get("format") != FORMAT:
        raise BadBackup(f"its format is {told.get('format')}; this version reads {FORMAT}")
    told["members"] = {name: Member(**each) for name, each in told["members"].items()}
    manifest = Manifest(**told)
    if wrong := sorted(
        name
        for name in found.keys() | manifest.members.keys()
        if found.get(name) != manifest.members.get(name)
    ):
        raise BadBackup(f"{len(wrong)} of its files are missing or damaged, such as {wrong[0]}")
    return manifest


def members(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents, in order. Read each content before the next. Raises BadBackup."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isreg() else None
                path = PurePosixPath(entry.name)
                if content is None or path.is_absolute() or ".." in path.parts:
                    raise BadBackup(f"{entry.name!r} is nothing that a backup has")
                yield entry.name, content
    except (tarfile.TarError, EOFError) as problem:
        raise BadBackup(f"it cannot be read: {problem}") from problem


def _measure(content: IO[bytes]) -> Member:
    digest, size = hashlib.sha256(), 0
    try:
        while piece := content.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    except tarfile.TarError as problem:
        raise BadBackup(f"it cannot be read: {problem}") from problem
    return Member(size, digest.hexdigest())
