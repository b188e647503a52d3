"""Prepares a data directory: migrations, static files, the first user and the first build.

Each step is fast if there is nothing to do.
"""

import secrets
import socket
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from time import time
from zipfile import ZIP_DEFLATED, ZipFile

from django.conf import settings
from django.core.files import File
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.models import ApiKey, User
from builds.conf import build_settings
from builds.engine_root import BUSYBOX
from config.env import private_folder
from images import catalog
from startup.data_directory import InUse

EXAMPLE = settings.BASE_DIR / "examples" / "hello"


class Unmigrated(Exception):
    """The database lacks migrations of this version. The message says what to do."""


def check_port(host: str, port: int, variable: str) -> None:
    """Raise InUse if the port is in use. Called before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            text = f"cannot listen on {host}:{port} ({problem.strerror}): set {variable}"
            raise InUse(text) from problem


def clear_spool(folder: Path, *, untouched: timedelta = timedelta()) -> None:
    """Remove files of uploads whose process was killed.

    If other processes use the folder, pass `untouched`: newer files may still be written to.
    """
    for left in folder.iterdir():
        with suppress(FileNotFoundError):  # another process that starts has removed it
            if time() - left.stat().st_mtime >= untouched.total_seconds():
                left.unlink()


def migrations_due() -> int:
    """The number of migrations that the database lacks."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def migrate() -> bool:
    """Apply missing migrations. Returns whether there were any."""
    due = migrations_due() > 0
    if due:
        call_command("migrate", verbosity=0, interactive=False)
    return due


def check_migrated() -> None:
    """Raise Unmigrated if migrations are missing. For processes that must not apply them."""
    if due := migrations_due():
        text = f"the database lacks {due} migrations of this version: run `manage.py migrate`"
        raise Unmigrated(text)


def static() -> None:
    """Collect static files if one of ours or requirements/base.txt has changed since."""
    made = Path(settings.STATIC_ROOT) / "staticfiles.json"
    sources = [
        settings.BASE_DIR / "requirements" / "base.txt",
        *settings.STATICFILES_DIRS[0].rglob("*"),
    ]
    if not made.exists() or made.stat().st_mtime < max(each.stat().st_mtime for each in sources):
        call_command("collectstatic", verbosity=0, interactive=False, stdout=StringIO())


def first_user(data_dir: Path) -> None:
    """Create the superuser `admin`. Its password and an API key are stored in files, mode 0600."""
    if User.objects.filter(username="admin").exists():
        return
    password = secrets.token_urlsafe(12)
    admin = User.objects.create_superuser("admin", password=password)
    _, key = ApiKey.objects.issue(admin, label="made at the first start")
    for name, secret in (("admin.password", password), ("admin.key", key)):
        path = data_dir / name
        path.touch(mode=0o600)
        path.write_text(f"{secret}\n")


def example_context(data_dir: Path) -> Path:
    """The zipped context of examples/hello, which the README's curl commands send."""
    path = private_folder(data_dir / "examples") / "hello.zip"
    if not path.exists():
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            # The engine root's static busybox: the example needs no image from a registry.
            archive.write(build_settings().engine_root.find() / BUSYBOX, "busybox")
            for each in sorted(EXAMPLE.iterdir()):
                if each.name != "Dockerfile":
                    archive.write(each, each.name)
    return path


def first_build(data_dir: Path) -> None:
    """Build examples/hello for `admin`, unless `admin` has an image already."""
    admin = User.objects.get(username="admin")
    context = example_context(data_dir)
    if admin.images.exists():
        return
    wanted = catalog.Wanted(
        name="hello",
        tag="latest",
        dockerfile=(EXAMPLE / "Dockerfile").read_text(),
        described={"readme": "Built at the first start.", "public": True},
    )
    with context.open("rb") as file:
        catalog.order(owner=admin, wanted=wanted, context=File(file, "hello.zip"))
