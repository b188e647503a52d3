"""A cluster whose every part is killed and started again, by a plan."""

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.cluster import Cluster
from tests.with_servers import Server, kill, running_servers

PREPARE = """
from django.core.management import call_command
from accounts.models import ApiKey, User
call_command("migrate", verbosity=0)
print(ApiKey.objects.issue(User.objects.create_user("owner"), label="")[1])
"""
BUSY_SECONDS = 6
Plan = dict[str, int]
"""How often each of the methods of `Troubled` is called."""


class Troubled:
    """Two web processes and two workers on their own PostgreSQL and Redis."""

    def __init__(
        self, folder: Path, registry: str, lease: int, database: Server, queue: Server
    ) -> None:
        self.database, self.queue = database, queue
        self.kills: Counter[str] = Counter()
        self.held = 0
        """How many of the killed workers had a build in hand."""
        environment = {
            "DATABASE_URL": database.url,
            "REDIS_URL": queue.url,
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "FAULTS_LEASE": str(lease),
            "SLIPWAY_DAILY_BUILDS": "100000",
        }
        self.webs = [Cluster(folder / "data", registry, **environment) for _ in range(2)]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.leaving: list[subprocess.Popen[bytes]] = []

    @property
    def first(self) -> Cluster:
        return self.webs[0]

    @property
    def ports(self) -> list[int]:
        return [web.port for web in self.webs]

    def start(self) -> None:
        self.key = self.first.manage("shell", "--command", PREPARE).split()[-1]
        self.first.serve()
        for _ in range(2):
            self.workers.append(self.first.run_worker())
        self.first.answers()
        for web in self.webs[1:]:
            web.serve()

    def stop(self) -> None:
        for process in [*self.workers, *self.leaving]:
            kill(process)
        for web in self.webs:
            if web.process is not None:
                kill(web.process)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        until = time.monotonic() + 20
        while True:
            try:
                with psycopg.connect(self.database.url, connect_timeout=5) as connection:
                    return connection.execute(statement).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    # What goes wrong

    def suffer(self, plan: Plan, chance: random.Random, *, pause: float) -> None:
        """Everything that is planned, in an order and at times that `chance` gives."""
        for what in chance.sample([*plan], counts=[*plan.values()], k=sum(plan.values())):
            time.sleep(chance.uniform(0.2, 1.8) * pause)
            act: Callable[[random.Random], None] = getattr(self, what)
            act(chance)
            self.kills[what] += 1

    def kill_web(self, chance: random.Random) -> None:
        web = chance.choice(self.webs)
        web.answers()
        kill(web.process)  # type: ignore[arg-type]
        web.serve()

    def stop_web(self, chance: random.Random) -> None:
        web = chance.choice(self.webs)
        web.answers()
        web.stop(signal.SIGTERM)
        web.serve()

    def kill_worker(self, chance: random.Random) -> None:
        worker = self._worker(chance)
        self.workers.remove(worker)
        kill(worker)
        self.workers.append(self.first.run_worker())

    def stop_worker(self, chance: random.Random) -> None:
        worker = self._worker(chance)
        self.workers.remove(worker)
        worker.terminate()
        self.leaving.append(worker)
        self.workers.append(self.first.run_worker())

    def kill_redis(self, chance: random.Random) -> None:
        self.queue.kill()
        time.sleep(chance.uniform(0, 1.5))
        self.queue.start()

    def stop_redis(self, chance: random.Random) -> None:
        self.queue.stop()
        time.sleep(chance.uniform(0, 1.5))
        self.queue.start()

    def kill_postgres(self, chance: random.Random) -> None:
        self.database.kill()
        time.sleep(chance.uniform(0, 1.5))
        self.database.start()

    def stop_postgres(self, chance: random.Random) -> None:
        self.database.stop()
        time.sleep(chance.uniform(0, 1.5))
        self.database.start()

    def crash_postgres(self, chance: random.Random) -> None:
        """One of its processes, upon which it ends all others and recovers."""
        assert self.database.running is not None
        newest = ["pkill", "-KILL", "-n", "-P", str(self.database.running.pid)]
        subprocess.run(newest, check=False)

    def starve_of_postgres(self, chance: random.Random) -> None:
        """Longer than any lease."""
        self.database.stop()
        time.sleep(12)
        self.database.start()

    def _worker(self, chance: random.Random) -> subprocess.Popen[bytes]:
        """One that has a build in hand, if any has soon."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            names = self.query(
                "SELECT DISTINCT worker FROM builds_build "
                "WHERE status IN ('building', 'pushing') AND lease_until > now()"
            )
            masters = {_parent(int(name.split(":")[1])) for (name,) in names}
            busy = [worker for worker in self.workers if worker.pid in masters]
            if busy or time.monotonic() > until:
                self.held += bool(busy)
                return chance.choice(busy or self.workers)
            time.sleep(0.2)


def _parent(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[1])
    return 0


@contextmanager
def troubled(folder: Path, registry: str, *, lease: int) -> Iterator[Troubled]:
    with running_servers() as (database, queue):
        cluster = Troubled(folder, registry, lease, database, queue)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
