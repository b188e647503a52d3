"""What a backup refuses, and that what it restores is what was there."""

import io
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from maintenance.archive import BadBackup, Manifest, Writer, verify
from tests.cluster import Cluster, own_servers
from tests.conftest import script, zipped
from tests.instance import ROOT, Instance, send, watch
from tests.s3 import running_s3

CONTEXT = zipped(a_txt="a")


def backup(*, members: dict[str, bytes] | None = None, finished: bool = True) -> io.BytesIO:
    made = io.BytesIO()
    writer = Writer(made)
    for name, content in (members or {"database": b"rows", "files/contexts/a": b"context"}).items():
        writer.add_bytes(name, content)
    if finished:
        writer.finish(
            Manifest(
                version="1",
                made_at="now",
                database="sqlite",
                migrations=["builds.0001_builds"],
                members=writer.members,
            )
        )
    made.seek(0)
    return made


def test_a_backup_is_read_as_it_was_written() -> None:
    manifest = verify(backup())
    assert manifest.members["files/contexts/a"].bytes == len(b"context")
    assert manifest.migrations == ["builds.0001_builds"]


def test_a_backup_that_was_not_finished_is_refused() -> None:
    with pytest.raises(BadBackup, match=r"not finished|cannot be read"):
        verify(backup(finished=False))
    with pytest.raises(BadBackup, match=r"not finished|cannot be read"):
        verify(io.BytesIO())


def test_a_changed_byte_is_found() -> None:
    changed = backup().getvalue().replace(b"context", b"c0ntext")
    changed = changed.replace(b"files/c0ntexts", b"files/contexts")
    with pytest.raises(BadBackup, match=r"damaged|missing"):
        verify(io.BytesIO(changed))


def test_a_file_that_is_cut_off_is_found() -> None:
    whole = backup(members={"database": bytes(100_000)}).getvalue()
    with pytest.raises(BadBackup):
        verify(io.BytesIO(whole[:50_000]))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "files/../../outside"])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(BadBackup, match="nothing that a backup has"):
        verify(backup(members={name: b"x"}))


def test_links_are_refused() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        link = tarfile.TarInfo("files/contexts/a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    made.seek(0)
    with pytest.raises(BadBackup, match="nothing that a backup has"):
        verify(made)


def manage(instance: Instance, *command: str, stdin: Path | None = None) -> bytes:
    with (stdin or Path("/dev/null")).open("rb") as file:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=instance.environment,
            stdin=file,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Of each table of a SQLite database."""
    with closing(sqlite3.connect(path)) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in {"builds_worker", "django_session"}
        ]
        return {
            each: sorted(database.execute(f"SELECT * FROM {each}"), key=repr) for each in tables
        }


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_uploads" not in path.parts
    }


@pytest.mark.long
def test_a_laptop_is_restored_into_an_empty_folder(tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    with Instance(tmp_path / "old", engine="scripted") as old:
        with old.client() as client:
            made = send(client, script("echo kept"), CONTEXT, name="kept")
            lines, status = watch(client, made["image_id"])
            assert status == "built and pushed"
        saved.write_bytes(manage(old, "backup"))
        digest = old.registry_as_worker().digest_of("admin/kept", "1")
        assert digest is not None
    saved.write_bytes(manage(old, "backup"))
    new = Instance(tmp_path / "new", engine="scripted")
    new.port, new.registry_port = old.port, old.registry_port
    new.url, new.registry = old.url, old.registry
    new.environment |= {
        name: old.environment[name] for name in ("SLIPWAY_PORT", "SLIPWAY_REGISTRY_PORT")
    }
    assert b"Restored" in manage(new, "restore", stdin=saved)
    assert rows(tmp_path / "new/slipway.sqlite3") == rows(tmp_path / "old/slipway.sqlite3")
    for name in ("files", "registry/data"):
        assert contents(tmp_path / "new" / name) == contents(tmp_path / "old" / name)
    new.start(first=True)
    try:
        with new.client() as client:
            assert watch(client, made["image_id"]) == (lines, status)
        assert new.registry_as_worker().digest_of("admin/kept", "1") == digest
        assert b"agree" in manage(new, "reconcile")
    finally:
        new.stop()
    with pytest.raises(AssertionError, match="the database has tables"):
        manage(new, "restore", stdin=saved)


@pytest.mark.long
@pytest.mark.servers
def test_a_cluster_is_restored_into_an_empty_database_and_bucket(
    tmp_path: Path, registry: str
) -> None:
    first, second = own_servers(queue=3), own_servers(queue=3)
    redis, databases = first["REDIS_URL"], [each["DATABASE_URL"] for each in (first, second)]
    shared = {
        "REDIS_URL": redis,
        "SLIPWAY_SECRET_KEY": "the-same-on-all",
        "SLIPWAY_METRICS_PORT": "0",
    }
    with running_s3(tmp_path / "one") as one, running_s3(tmp_path / "two") as two:
        old = Cluster(
            tmp_path / "old", registry, DATABASE_URL=databases[0], **one.environment(), **shared
        )
        new = Cluster(
            tmp_path / "new", registry, DATABASE_URL=databases[1], **two.environment(), **shared
        )
        with old:
            old.manage("create_user", "kept")
            key = old.manage("create_api_key", "kept").strip()
            old.add_worker()
            with old.client(key) as client:
                made = send(client, script("echo kept"), CONTEXT, username="kept", name="kept")
                lines, status = watch(client, made["image_id"])
                assert status == "built and pushed"
        saved = tmp_path / "saved.tar"
        saved.write_bytes(manage(old, "backup"))
        assert b"Restored" in manage(new, "restore", stdin=saved)
        assert contents(one.folder) == contents(two.folder)
        tables = ("images_image", "builds_build", "accounts_user", "accounts_apikey")
        for table in tables:
            found = []
            for url in databases:
                with psycopg.connect(url) as connection:
                    found.append(sorted(connection.execute(f"SELECT * FROM {table}"), key=repr))
            assert found[0] == found[1]
            assert found[0]
        with new, new.client(key) as client:
            assert watch(client, made["image_id"]) == (lines, status)
        assert b"agree" in manage(new, "reconcile")
