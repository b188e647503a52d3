"""A Slipway of several processes, with PostgreSQL, Redis and a registry between them."""

import os
import signal
import subprocess
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from tests.instance import Instance


def servers() -> dict[str, str]:
    return {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}


def own_servers(*, queue: int) -> dict[str, str]:
    """The same servers, with an empty database and that database of Redis."""
    given, name = servers(), f"own_{uuid4().hex}"
    with psycopg.connect(given["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    return {
        "DATABASE_URL": given["DATABASE_URL"].rpartition("/")[0] + f"/{name}",
        "REDIS_URL": given["REDIS_URL"].rpartition("/")[0] + f"/{queue}",
    }


class Cluster(Instance):
    """One web process and any number of workers; more of both on the same folder make one."""

    def __init__(
        self, data_dir: Path, registry: str, *, engine: str = "scripted", **environment: str
    ) -> None:
        """`environment` must name a DATABASE_URL and a REDIS_URL."""
        super().__init__(
            data_dir,
            engine=engine,
            SLIPWAY_REGISTRY=registry,
            SLIPWAY_REGISTRY_INSECURE="yes",
            SLIPWAY_WORKERS="2",
            **environment,
        )
        self.workers: list[subprocess.Popen[bytes]] = []
        self._folders: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, *, example: bool = False, first: bool = False) -> float:
        self.manage("migrate", "--verbosity", "0")
        self.serve()
        self.answers()
        return 0.0

    def serve(self) -> None:
        """Starts the web process, which takes a moment to answer."""
        self.process = self.run("manage.py", "web")

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One that ends with the cluster."""
        worker = self.run_worker()
        self.workers.append(worker)
        return worker

    def run_worker(self) -> subprocess.Popen[bytes]:
        """On the cluster's folder, or on one of its own while another worker has that."""
        folder, number = self.data_dir, 1
        while (before := self._folders.get(folder)) is not None and before.poll() is None:
            number += 1
            folder = self.data_dir.with_name(f"{self.data_dir.name}-worker-{number}")
        if folder != self.data_dir and not folder.exists():
            folder.mkdir(mode=0o700)
            # Below closed folders a process would see its own data directory alone.
            for parent in takewhile(lambda each: each != Path(gettempdir()), folder.parents):
                parent.chmod(parent.stat().st_mode | 0o111)
            for name in ("files", "secret_key"):
                (folder / name).symlink_to(self.data_dir / name)
        here = {**self.environment, "SLIPWAY_DATA_DIR": str(folder)}
        self._folders[folder] = started = self.run("manage.py", "worker", environment=here)
        return started

    def stop(self, sign: signal.Signals = signal.SIGINT) -> float:
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
            worker.wait(30)
        return super().stop(sign)
