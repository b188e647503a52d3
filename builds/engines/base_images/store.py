"""Stores base images in an OCI layout on disk: verified blobs, records of images, and locks.

Several workers of a machine share a store. A build holds the images that it uses by file locks,
which are released when its process dies. The manifest of an image is written last: an image is
complete when its manifest exists.
"""

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builds.engines.base_images.file_lock import FileLock, locked, try_lock
from builds.engines.base_images.manifest import MALFORMED, Blob, Manifest

LAYOUT_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
EMPTY_INDEX = b'{"schemaVersion":2,"manifests":[]}'
CHUNK_BYTES = 1 << 20
CHUNKS_A_TICK = 32
READ_ONLY = 0o444
ABANDONED_SECONDS = 3_600
NO_LINKS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class DamagedBlob(Exception):
    """A blob does not have the size or digest that the manifest names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Record of a registry's answer for a reference and a platform."""

    answered: str
    """Digest of the answer: an index or a manifest."""
    manifest: str
    """Digest of the manifest for the platform."""
    at: float
    """When the registry was asked, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image in a store, complete or being downloaded."""

    store: "BaseStore"
    digest: str
    blobs: tuple[Blob, ...]
    """The configuration first, then the layers without duplicates."""
    used_at: float

    @property
    def config(self) -> Path:
        return self.store.blob(self.blobs[0].digest)

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs)


class BaseStore:
    """One folder of base images: those shared by all owners, or the private ones of one owner."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = root / "layout"
        self._blobs = self.layout / "blobs/sha256"
        self._images = root / "images"
        self._references = root / "references"
        self._locks = root / "locks"
        self._downloads = root / "downloads"

    def prepare(self) -> None:
        """Create missing folders and files."""
        # containerd, which reads layouts for BuildKit, needs the folder `ingest`.
        for folder in (self._blobs, self.layout / "ingest"):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self._images, self._references, self._locks, self._downloads):
            folder.mkdir(mode=0o700, exist_ok=True)
        for name, text in (("oci-layout", LAYOUT_VERSION), ("index.json", EMPTY_INDEX)):
            if not (self.layout / name).exists():
                write_file(self.layout / name, text)

    def blob(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, blob: Blob) -> bool:
        """Whether a blob exists with the right size. Its digest was verified when it was stored."""
        with suppress(FileNotFoundError):
            return self.blob(blob.digest).stat().st_size == blob.size
        return False

    def known(self, key: str) -> Known | None:
        """The record that `note` wrote for a key. None if there is none."""
        try:
            value = json.loads(self._record(key).read_bytes())
            return Known(answered=value["answered"], manifest=value["manifest"], at=value["at"])
        except (FileNotFoundError, *MALFORMED):
            return None

    def note(self, key: str, known: Known) -> None:
        """Store a registry's answer for a key."""
        value = {"answered": known.answered, "manifest": known.manifest, "at": known.at}
        write_file(self._record(key), json.dumps({"for": key, **value}).encode())

    def lock(self, key: str) -> FileLock | None:
        """Lock for fetching a reference. None while another fetch holds it."""
        return try_lock(self._locks / f"fetch-{_name(key)}")

    def hold(self, digest: str) -> FileLock | None:
        """Shared lock that prevents the eviction of an image. None while it is being evicted."""
        return try_lock(self._locks / f"image-{digest.removeprefix('sha256:')}", shared=True)

    def download_folder(self, key: str) -> Path:
        """Create an empty folder for a download. The caller holds the key's lock."""
        folder = self._downloads / _name(key)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def discard_download(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def image(self, digest: str) -> StoredImage | None:
        """The image, or None if it is not complete. The caller holds its lock (`hold`)."""
        found = self._read_image(self._image_file(digest))
        if found is None or not self.blob(digest).exists() or not all(map(self.has, found.blobs)):
            return None
        return found

    def expect(self, manifest: Manifest) -> None:
        """Record the blobs that an image will need, so that none is evicted before it is complete.

        The caller holds the image's lock (`hold`).
        """
        blobs = [[blob.digest, blob.size] for blob in manifest.blobs]
        with locked(self.root / "lock"):
            file = self._image_file(manifest.digest)
            write_file(file, json.dumps({"digest": manifest.digest, "blobs": blobs}).encode())

    def use(self, digest: str) -> None:
        """Record that an image is used now."""
        with suppress(FileNotFoundError):
            os.utime(self._image_file(digest))

    def adopt(self, layout: Path, blob: Blob) -> Iterator[None]:
        """Verify a blob of a layout that skopeo wrote, and move it into this store.

        Yields every 32 MiB. No process may still write to the layout. Raises DamagedBlob.
        """
        name = blob.digest.removeprefix("sha256:")
        try:
            folder = _open_folder(layout, "blobs", "sha256")
            try:
                fd = os.open(name, NO_LINKS, dir_fd=folder)
                try:
                    yield from _check(fd, blob)
                    os.fchmod(fd, READ_ONLY)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                os.rename(name, self._blobs / name, src_dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise DamagedBlob(f"{blob.digest}: {error.strerror}") from error

    def link(self, other: "BaseStore", blob: Blob) -> bool:
        """Hard-link a blob from another store. Returns whether the other store has it."""
        if not other.has(blob):
            return False
        with suppress(FileExistsError, FileNotFoundError):
            self.blob(blob.digest).hardlink_to(other.blob(blob.digest))
        return self.has(blob)

    def put(self, digest: str, data: bytes) -> None:
        """Write a small blob. The caller has checked its digest."""
        write_file(self.blob(digest), data, mode=READ_ONLY, durable=True)

    def images(self) -> list[StoredImage]:
        """All images, complete or not."""
        found = (self._read_image(file) for file in self._images.glob("*.json"))
        return [each for each in found if each is not None]

    def evict(self, digest: str) -> bool:
        """Remove an image and the blobs that no other image needs. False if a build holds it."""
        lock = try_lock(self._locks / f"image-{digest.removeprefix('sha256:')}")
        if lock is None:
            return False
        try:
            with locked(self.root / "lock"):
                self.blob(digest).unlink(missing_ok=True)
                self._image_file(digest).unlink(missing_ok=True)
                self._remove_unneeded()
        finally:
            lock.release(remove=True)
        return True

    def drop_damaged(self, digest: str) -> Generator[None, None, bool]:
        """Verify an image's blobs and remove damaged ones. Returns whether there were any.

        Yields every 32 MiB.
        """
        found = False
        image = self._read_image(self._image_file(digest))
        path = self.blob(digest)
        parts = list(image.blobs) if image else []
        with suppress(FileNotFoundError):
            parts.append(Blob(digest=digest, size=path.stat().st_size))
        for blob in parts:
            try:
                fd = os.open(self.blob(blob.digest), NO_LINKS)
            except FileNotFoundError:
                continue
            try:
                yield from _check(fd, blob, links=False)
            except DamagedBlob:
                self.blob(blob.digest).unlink(missing_ok=True)
                found = True
            finally:
                os.close(fd)
        return found

    def sweep(self) -> None:
        """Remove the leftovers of fetches that failed or whose process died."""
        for folder in [*self._downloads.iterdir()] if self._downloads.exists() else []:
            lock = try_lock(self._locks / f"fetch-{folder.name}")
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release(remove=True)
        for image in self.images():
            if not self.blob(image.digest).exists():
                self.evict(image.digest)

    def _remove_unneeded(self) -> None:
        images = self.images()
        needed = {image.digest for image in images}
        needed |= {blob.digest for image in images for blob in image.blobs}
        for path in self._blobs.iterdir():
            if f"sha256:{path.name}" not in needed and not _is_being_written(path):
                path.unlink(missing_ok=True)
        for file in self._references.glob("*.json"):
            with suppress(FileNotFoundError, *MALFORMED):
                if json.loads(file.read_bytes())["manifest"] not in needed:
                    file.unlink(missing_ok=True)

    def _read_image(self, file: Path) -> StoredImage | None:
        try:
            value = json.loads(file.read_bytes())
            blobs = tuple(Blob(digest=digest, size=size) for digest, size in value["blobs"])
            used = file.stat().st_mtime
            return StoredImage(store=self, digest=value["digest"], blobs=blobs, used_at=used)
        except (FileNotFoundError, *MALFORMED):
            return None

    def _image_file(self, digest: str) -> Path:
        return self._images / f"{digest.removeprefix('sha256:')}.json"

    def _record(self, key: str) -> Path:
        return self._references / f"{_name(key)}.json"


def evict_unused(stores: Iterable[BaseStore], folder: Path, free_bytes: int) -> None:
    """Evict images, the least recently used first, until `folder`'s disk has `free_bytes` free."""
    images = [image for store in stores for image in store.images()]
    for image in sorted(images, key=lambda each: each.used_at):
        if free_bytes_of(folder) >= free_bytes:
            return
        image.store.evict(image.digest)


def free_bytes_of(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def write_file(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Write a file atomically: write a temporary file, then rename it. `durable` syncs it."""
    new = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    with new.open("wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)


def _is_being_written(path: Path) -> bool:
    """Whether it is a temporary file of `write_file`, less than ABANDONED_SECONDS old."""
    if not path.name.startswith("."):
        return False
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime < ABANDONED_SECONDS
    return False


def _check(fd: int, blob: Blob, *, links: bool = True) -> Iterator[None]:
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or (links and about.st_nlink != 1):
        raise DamagedBlob(f"{blob.digest}: not a plain file")
    if about.st_size != blob.size:
        raise DamagedBlob(f"{blob.digest}: {about.st_size} bytes and not {blob.size}")
    digest, at, chunks = hashlib.sha256(), 0, 0
    while chunk := os.pread(fd, CHUNK_BYTES, at):
        digest.update(chunk)
        at += len(chunk)
        chunks += 1
        if chunks % CHUNKS_A_TICK == 0:
            yield
    if f"sha256:{digest.hexdigest()}" != blob.digest:
        raise DamagedBlob(f"{blob.digest}: other content")


def _open_folder(folder: Path, *names: str) -> int:
    """Open a folder below another one, following no link."""
    fd = os.open(folder, NO_LINKS | os.O_DIRECTORY)
    for name in names:
        try:
            inner = os.open(name, NO_LINKS | os.O_DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
