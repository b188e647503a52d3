"""Writes a backup: first the database, then the files that it names."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection

from builds.conf import build_settings
from builds.registry import make_signer
from builds.unreferenced_files import OF_BUILDS
from images import logos
from maintenance import databases
from maintenance.archive import DATABASE, FILES, REGISTRY, SETTINGS, Manifest, Writer
from storage.interface import files

FOLDERS = (*OF_BUILDS, logos.FOLDER)
FIRST_USER = ("admin.key", "admin.password")


def write_backup(stream: IO[bytes], *, with_files: bool) -> Manifest:
    """Writes a backup while Slipway runs. Raises OSError or ProcessError.

    Files that users delete meanwhile may be missing although the database names them: `reconcile`
    finds these.
    """
    writer = Writer(stream)
    migrations = databases.applied()
    with TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        dumped = Path(folder, DATABASE)
        databases.dump(dumped)
        with dumped.open("rb") as content:
            writer.add(DATABASE, content, dumped.stat().st_size)
    writer.add_bytes(SETTINGS, json.dumps(_settings(), indent=1).encode())
    if with_files:
        for key in _stored():
            _add_file(writer, key)
        _add_registry(writer)
    manifest = Manifest(
        version=settings.VERSION,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        database=connection.vendor,
        migrations=migrations,
        members=writer.members,
    )
    writer.finish(manifest)
    return manifest


def _settings() -> dict[str, object]:
    """What must be the same after a restore. The key of the registry is derived from the secret
    key."""
    first_user = {
        name: path.read_text()
        for name in FIRST_USER
        if (path := Path(settings.DATA_DIR, name)).exists()
    }
    return {
        "secret_key": settings.SECRET_KEY,
        "registry_certificate": make_signer(build_settings()).certificate,
        "registry": build_settings().registry,
        "public_url": settings.PUBLIC_URL,
        "first_user": first_user,
    }


def _stored() -> Iterator[str]:
    now = datetime.now(UTC)
    for folder in FOLDERS:
        yield from sorted(files().old(folder, before=now))


def _add_file(writer: Writer, key: str) -> None:
    try:
        size = default_storage.size(key)
        content = default_storage.open(key)
    except FileNotFoundError:
        return  # somebody has deleted it meanwhile
    with content:
        writer.add(f"{FILES}/{key}", content, size)


def _add_registry(writer: Writer) -> None:
    """For the registry that Slipway starts. It renames files into place, and does not change
    them."""
    data = Path(settings.DATA_DIR, "registry", "data")
    if not build_settings().registry_guarded or not data.exists():
        return
    for path in sorted(data.rglob("*")):
        relative = path.relative_to(data)
        if "_uploads" in relative.parts or not path.is_file():
            continue
        try:
            content = path.open("rb")
        except FileNotFoundError:
            continue
        with content:
            writer.add(f"{REGISTRY}/{relative.as_posix()}", content, path.stat().st_size)
