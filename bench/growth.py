"""How much 1,000 builds add to database, storage and registry, without the layers of real images.

Starts its own PostgreSQL and Redis. The images have one tiny layer each.
"""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import psycopg

from bench.figures import Figure
from tests.cluster import Cluster
from tests.instance import send, watch
from tests.registry import running_registry
from tests.with_servers import running_servers

BUILDS = 200
SETTLED_SECONDS = 120
DOCKERFILE = "FROM scratch\nRUN scripted: repeat {lines} of the output of some step\n"
TABLES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relname IN ('builds_build', 'images_image', 'builds_logchunk')
"""


def run(folder: Path) -> Iterator[Figure]:
    (folder / "registry").mkdir()
    with running_servers() as (database, queue), running_registry(folder / "registry") as registry:
        environment = {"DATABASE_URL": database.url, "REDIS_URL": queue.url}
        environment |= {"SLIPWAY_DAILY_BUILDS": "100000"}
        with Cluster(folder / "data", registry, **environment) as cluster:
            cluster.manage("create_user", "grower")
            key = cluster.manage("create_api_key", "grower").strip()
            cluster.add_worker()
            with cluster.client(key) as client:
                for lines in (100, 5_000):
                    before = _sizes(folder, database.url)
                    made = [
                        send(
                            client,
                            DOCKERFILE.format(lines=lines),
                            _context(),
                            username="grower",
                            name=f"growth-{lines}-{n}",
                        )["image_id"]
                        for n in range(BUILDS)
                    ]
                    for image in made:
                        watch(client, image)
                    _wait_until_archived(database.url)
                    after = _sizes(folder, database.url)
                    for name, size in after.items():
                        grown = (size - before[name]) / BUILDS * 1000 / 1024**2
                        yield Figure(name=f"growth.{lines}_lines.{name}", value=grown, unit="MiB")


def _context() -> bytes:
    """20 KB that become 10 KB in a zip."""
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr("file", os.urandom(10_000).hex())
    return file.getvalue()


def _wait_until_archived(url: str) -> None:
    """The chunks of archived logs are kept for an hour, and count."""
    until = time.monotonic() + SETTLED_SECONDS
    unarchived = "SELECT count(*) FROM builds_build WHERE archive_key = '' AND log_lines > 0"
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(unarchived).fetchone() != (0,) and time.monotonic() < until:
            time.sleep(0.5)


def _sizes(folder: Path, url: str) -> dict[str, int]:
    found = {
        "contexts": _size(folder / "data/files/contexts"),
        "logs": _size(folder / "data/files/logs"),
        "registry": _size(folder / "registry/blobs"),
    }
    with psycopg.connect(url) as connection:
        found |= {f"table.{name}": size for name, size in connection.execute(TABLES)}
    return found


def _size(folder: Path) -> int:
    """As the file system counts it, in blocks."""
    files = folder.rglob("*") if folder.exists() else ()
    return sum(path.lstat().st_blocks * 512 for path in files)
