"""A Slipway of several processes, with PostgreSQL, Redis and a registry between them."""

import os
import signal
import subprocess
from pathlib import Path

from tests.instance import Instance


def servers() -> dict[str, str]:
    return {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}


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
        return self.run("manage.py", "worker")

    def stop(self, sign: signal.Signals = signal.SIGINT) -> float:
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
            worker.wait(30)
        return super().stop(sign)
