"""Restores a backup into an empty place: database, files, the registry of Slipway, keys."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection

from builds.conf import build_settings
from config.env import environment
from maintenance import databases
from maintenance.archive import (
    DATABASE,
    FILES,
    MANIFEST,
    REGISTRY,
    SETTINGS,
    BadBackup,
    Manifest,
    members,
    verify,
)
from maintenance.backup import FIRST_USER, FOLDERS
from storage.interface import files


class NotEmpty(Exception):
    """There is already data where the backup would be restored. The text says where."""


def read_backup(stream: IO[bytes], *, with_files: bool) -> Manifest:
    """Restores a backup after it has checked all of it. The stream must be seekable.

    Raises BadBackup, NotEmpty, OSError, ProcessError.
    """
    manifest = verify(stream)
    _check_version(manifest)
    _check_empty(with_files=with_files)
    stream.seek(0)
    with TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        for name, content in members(stream):
            kind, _, rest = name.partition("/")
            if name == SETTINGS:
                _restore_settings(json.loads(content.read()))
            elif name == DATABASE:
                dumped = Path(folder, DATABASE)
                _copy(content, dumped)
                databases.load(dumped)
            elif kind == FILES and with_files:
                _store(rest, content, Path(folder, FILES))
            elif kind == REGISTRY and with_files:
                _copy(content, _registry_folder() / rest)
            elif name != MANIFEST and with_files:
                raise BadBackup(f"{name} is of no kind that this version knows")
    call_command("migrate", verbosity=0, interactive=False)
    return manifest


def _check_version(manifest: Manifest) -> None:
    if manifest.database != connection.vendor:
        raise BadBackup(f"it is of {manifest.database}, and DATABASE_URL of {connection.vendor}")
    if newer := databases.unknown(manifest.migrations):
        raise BadBackup(f"a newer version made it ({manifest.version}, with {newer[-1]})")


def _check_empty(*, with_files: bool) -> None:
    if not databases.is_empty():
        raise NotEmpty("the database has tables: restore into an empty one")
    if not with_files:
        return
    now = datetime.now(UTC)
    if any(next(iter(files().old(folder, before=now)), None) for folder in FOLDERS):
        raise NotEmpty("the storage has files: restore into an empty one, or --without-files")
    if build_settings().registry_guarded and _registry_folder().exists():
        raise NotEmpty(f"{_registry_folder()} is there: restore into an empty data directory")


def _restore_settings(told: dict[str, Any]) -> None:
    """Writes the secret key into the data directory, if the environment does not have it."""
    if environment().secret_key:
        if told["secret_key"] != settings.SECRET_KEY:
            raise BadBackup("SLIPWAY_SECRET_KEY is not the one that the backup was made with")
    else:
        _write_secret("secret_key", told["secret_key"])
    for name in FIRST_USER:
        if name in told["first_user"]:
            _write_secret(name, told["first_user"][name])


def _write_secret(name: str, text: str) -> None:
    handle = os.open(settings.DATA_DIR / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _store(key: str, content: IO[bytes], spool: Path) -> None:
    _copy(content, spool)
    with spool.open("rb") as file:
        stored = default_storage.save(key, File(file, key))
    spool.unlink(missing_ok=True)
    if stored != key:
        raise NotEmpty(f"{key} is in the storage already")


def _copy(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)


def _registry_folder() -> Path:
    return Path(settings.DATA_DIR, "registry", "data")
