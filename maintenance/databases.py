"""Dumps the database into a file, and loads a dump into an empty database."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from builds.process import CLEAN_ENV, run

DEADLINE_SECONDS = 24 * 3600.0
POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql")
"""Where Debian has the programs of each version."""


def applied() -> list[str]:
    """The migrations that the database has, as `app.name`."""
    found = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in found)


def unknown(migrations: list[str]) -> list[str]:
    """Those of these migrations that this version does not have."""
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    ours = {name.partition(".")[0] for name in known}
    return [each for each in migrations if each not in known and each.partition(".")[0] in ours]


def is_empty() -> bool:
    return not connection.introspection.table_names()


def dump(file: Path) -> None:
    """A consistent dump, while others write. Raises ProcessError."""
    if connection.vendor == "sqlite":
        with (
            closing(sqlite3.connect(connection.settings_dict["NAME"])) as source,
            closing(sqlite3.connect(file)) as target,
        ):
            source.backup(target)
        return
    program = _program("pg_dump")
    command = [program, "--format=custom", "--no-owner", "--no-acl", f"--file={file}"]
    run([*command, *_place()], deadline=DEADLINE_SECONDS, env=_environment())


def load(file: Path) -> None:
    """Loads a dump into an empty database. Raises ProcessError."""
    connections.close_all()
    if connection.vendor == "sqlite":
        place = Path(connection.settings_dict["NAME"])
        for left in (place, *(place.with_name(f"{place.name}-{kind}") for kind in ("wal", "shm"))):
            left.unlink(missing_ok=True)
        shutil.copyfile(file, place)
        place.chmod(0o600)
        return
    program = _program("pg_restore")
    command = [program, "--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
    run([*command, *_place(), str(file)], deadline=DEADLINE_SECONDS, env=_environment())


def _place() -> list[str]:
    settings = connection.settings_dict
    options = {"host": settings["HOST"], "port": settings["PORT"], "username": settings["USER"]}
    given = [f"--{name}={value}" for name, value in options.items() if value]
    return [*given, f"--dbname={settings['NAME']}", "--no-password"]


def _environment() -> dict[str, str]:
    settings = connection.settings_dict
    wanted = {"PGPASSWORD": settings["PASSWORD"]}
    options = settings.get("OPTIONS", {})
    for name in ("sslmode", "sslrootcert", "sslcert", "sslkey"):
        wanted[f"PG{name.upper()}"] = options.get(name, "")
    return {**CLEAN_ENV, **{name: str(value) for name, value in wanted.items() if value}}


def _program(name: str) -> str:
    """The newest version of a program: an old one refuses a newer server."""
    found = sorted(
        POSTGRESQL_PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: float(path.parent.parent.name)
    )
    return str(found[-1]) if found else name
