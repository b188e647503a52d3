"""A cluster with one sick part: no user's build fails by it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from builds.registry.tokens import Signer
from tests.cluster import Cluster
from tests.conftest import script, zipped
from tests.faults.cluster import PREPARE
from tests.instance import send, watch
from tests.registry import CONFIG, free_port, running_registry
from tests.with_servers import kill, running_servers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
CONTEXT = zipped(a_txt="a")
TRUST = """
auth:
  token: {{realm: "{realm}", service: slipway, issuer: slipway, rootcertbundle: "{certificate}"}}
"""
Query = Callable[[str], list[tuple[Any, ...]]]


class Fleet:
    """One web process and workers, each with an environment of its own."""

    def __init__(
        self, folder: Path, registry: str, database: str, queue: str, **environment: str
    ) -> None:
        self.cluster = Cluster(
            folder / "data",
            registry,
            DATABASE_URL=database,
            REDIS_URL=queue,
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            FAULTS_LEASE="20",
            SLIPWAY_DAILY_BUILDS="1000",
            **environment,
        )
        self.workers: list[subprocess.Popen[bytes]] = []
        self.database = database

    def start(self) -> None:
        self.key = self.cluster.manage("shell", "--command", PREPARE).split()[-1]
        self.cluster.serve()
        self.cluster.answers()

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        before = dict(self.cluster.environment)
        self.cluster.environment.update(environment)
        worker = self.cluster.run_worker()
        self.cluster.environment = before
        self.workers.append(worker)
        return worker

    def send(self, name: str, *steps: str, base: str = "scratch") -> str:
        dockerfile = script(*steps).replace("FROM scratch", f"FROM {base}")
        with self.client() as client:
            made = send(client, dockerfile, CONTEXT, username="owner", name=name)
        return str(made["image_id"])

    def end_of(self, image_id: str) -> str:
        with self.client() as client:
            return watch(client, image_id)[1]

    def client(self) -> httpx.Client:
        return self.cluster.client(self.key)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    def until(self, statement: str, found: Callable[[list[tuple[Any, ...]]], bool]) -> Any:
        end = time.monotonic() + 60
        while not found(rows := self.query(statement)):
            assert time.monotonic() < end, (rows, self.cluster.output()[-3000:])
            time.sleep(0.2)
        return rows

    def stop(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                kill(worker)
        if self.cluster.process is not None:
            kill(self.cluster.process)


class StoppableRegistry:
    """One that can be away for a while."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.config = folder / "registry.yml"
        self.config.write_text(CONFIG.format(root=folder / "blobs", port=port))
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = subprocess.Popen(
            ["docker-registry", "serve", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://{self.address}/v2/", trust_env=False)
            except httpx.TransportError:
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self.running is not None:
            self.running.kill()
            self.running.wait()
            self.running = None


@contextmanager
def running_fleet(folder: Path, registry: str, **environment: str) -> Iterator[Fleet]:
    with running_servers() as (database, queue):
        fleet = Fleet(folder, registry, database.url, queue.url, **environment)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()


@pytest.fixture
def fleet(tmp_path: Path, registry: str) -> Iterator[Fleet]:
    with running_fleet(tmp_path, registry) as running:
        yield running


@pytest.mark.long
@pytest.mark.parametrize("skew", ["90", "-90"])
def test_a_worker_with_a_wrong_clock_takes_nothing_and_costs_no_attempt(
    fleet: Fleet, skew: str
) -> None:
    fleet.add_worker(FAULTS_SKEW=skew)
    workers = "SELECT name, quarantine_reason FROM builds_worker"
    [(skewed, reason)] = fleet.until(workers, lambda rows: any(row[1] for row in rows))
    assert "clock" in reason
    fleet.add_worker()
    fleet.until(workers, lambda rows: len(rows) == 2)
    images = [fleet.send(f"clock-{n}", "echo begun", "sleep 1") for n in range(6)]
    assert {fleet.end_of(each) for each in images} == {"built and pushed"}
    builds = fleet.query("SELECT worker, number FROM builds_build")
    assert len(builds) == 6
    assert skewed not in {worker for worker, _ in builds}


@pytest.mark.long
def test_a_worker_with_a_full_disk_eats_no_build(fleet: Fleet) -> None:
    fleet.add_worker(SLIPWAY_MIN_DISK_MB=str(10**9))
    workers = "SELECT name, quarantine_reason FROM builds_worker"
    [(full, reason)] = fleet.until(workers, lambda rows: any(row[1] for row in rows))
    assert "disk" in reason
    image = fleet.send("full", "echo done")
    time.sleep(3)
    assert fleet.query("SELECT status FROM builds_build") == [("queued",)]
    fleet.add_worker()
    assert fleet.end_of(image) == "built and pushed"
    assert fleet.query(f"SELECT count(*) FROM builds_build WHERE worker = '{full}'") == [(0,)]


def test_builds_go_on_without_a_web_process(fleet: Fleet) -> None:
    fleet.add_worker()
    fleet.send("webless", "echo begun", "sleep 3")
    status = "SELECT status FROM builds_build"
    fleet.until(status, lambda rows: rows == [("building",)])
    assert fleet.cluster.process is not None
    kill(fleet.cluster.process)
    fleet.until(status, lambda rows: rows == [("succeeded",)])


@pytest.mark.long
def test_private_bases_are_pulled_without_a_web_process(tmp_path: Path) -> None:
    secret = "a secret of this test, of fifty characters or more"
    signer = Signer(secret, "http://127.0.0.1:1/registry/token")
    certificate = tmp_path / "slipway.pem"
    certificate.write_text(signer.certificate)
    own = {"SLIPWAY_SECRET_KEY": secret, "SLIPWAY_PUBLIC_URL": "http://127.0.0.1:1"}
    trust = TRUST.format(realm=signer.realm, certificate=certificate)
    with (
        running_registry(tmp_path, more=trust) as registry,
        running_fleet(tmp_path, registry, **own) as fleet,
    ):
        worker = fleet.add_worker()
        assert fleet.end_of(fleet.send("base", "echo base")) == "built and pushed"
        kill(worker)
        fleet.send("webless", "echo on it", base=f"{registry}/owner/base:1")
        assert fleet.cluster.process is not None
        kill(fleet.cluster.process)
        fleet.add_worker()
        status = "SELECT status, failure_text FROM builds_build WHERE label LIKE '%webless%'"
        rows = fleet.until(status, lambda rows: rows[0][0] in {"succeeded", "failed"})
        assert rows == [("succeeded", "")]


@pytest.mark.long
def test_a_killed_worker_leaves_no_process_and_its_folder_to_the_next_alone(fleet: Fleet) -> None:
    worker = fleet.add_worker()
    fleet.send("killed", "echo begun", "sleep 3")
    fleet.until("SELECT status FROM builds_build", lambda rows: rows == [("building",)])
    [(child,)] = fleet.query("SELECT pid FROM builds_worker")
    second = fleet.cluster.run("manage.py", "worker")
    assert second.wait(60) != 0
    assert "is in use by another Slipway" in fleet.cluster.output()
    worker.kill()
    worker.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    fleet.add_worker()
    ended = "SELECT status FROM builds_build ORDER BY number"
    fleet.until(ended, lambda rows: rows == [("lost",), ("succeeded",)])
    # The one before was not waited for: it was known to be dead.
    lost = "SELECT extract(epoch FROM lease_until - ended_at) FROM builds_build"
    assert fleet.query(f"{lost} WHERE status = 'lost' AND lease_until < ended_at") == []


@pytest.mark.long
def test_a_stopped_worker_ends_its_build_within_the_grace(fleet: Fleet) -> None:
    worker = fleet.add_worker(SLIPWAY_GRACE="60")
    image = fleet.send("graceful", "echo begun", "sleep 6")
    fleet.until("SELECT status FROM builds_build", lambda rows: rows == [("building",)])
    worker.terminate()
    fleet.until("SELECT drain_requested_at FROM builds_worker", lambda rows: rows[0][0] is not None)
    late = fleet.send("late", "echo late")
    assert fleet.end_of(image) == "built and pushed"
    assert worker.wait(30) == 0
    assert fleet.query("SELECT status, count(*) FROM builds_build GROUP BY status ORDER BY 1") == [
        ("queued", 1),
        ("succeeded", 1),
    ]
    fleet.add_worker()
    assert fleet.end_of(late) == "built and pushed"


def test_a_build_longer_than_the_grace_is_handed_on(fleet: Fleet) -> None:
    worker = fleet.add_worker(SLIPWAY_GRACE="1")
    image = fleet.send("long", "echo begun", "sleep 8")
    fleet.until("SELECT status FROM builds_build", lambda rows: rows == [("building",)])
    fleet.add_worker()
    worker.terminate()
    assert worker.wait(30) == 0
    assert fleet.end_of(image) == "built and pushed"
    found = fleet.query(
        "SELECT number, status, interruptions, restarts, free FROM builds_build ORDER BY 1"
    )
    assert found == [(1, "lost", 0, 0, True), (2, "succeeded", 1, 0, False)]


@pytest.mark.long
def test_a_drained_worker_is_waited_for_by_the_command(fleet: Fleet) -> None:
    fleet.add_worker()
    fleet.send("drained", "echo begun", "sleep 5")
    fleet.until("SELECT status FROM builds_build", lambda rows: rows == [("building",)])
    said = fleet.cluster.manage("drain", "--wait")
    assert "No build runs on them." in said
    assert fleet.query("SELECT status FROM builds_build") == [("succeeded",)]
    late = fleet.send("late", "echo late")
    time.sleep(2)
    assert fleet.query("SELECT count(*) FROM builds_build WHERE status = 'queued'") == [(1,)]
    fleet.cluster.manage("drain", "--undo")
    assert fleet.end_of(late) == "built and pushed"
    with pytest.raises(subprocess.CalledProcessError):
        fleet.cluster.manage("drain", "nobody")


@pytest.mark.long
def test_an_outage_of_the_registry_fails_no_build(tmp_path: Path) -> None:
    """It goes away under builds that run, and comes back with what it had."""
    own = StoppableRegistry(tmp_path)
    own.start()
    try:
        with running_fleet(tmp_path, own.address) as fleet:
            fleet.add_worker()
            fleet.add_worker()
            assert fleet.end_of(fleet.send("warm", "echo warm")) == "built and pushed"
            images = [fleet.send(f"outage-{n}", "echo begun", "sleep 3") for n in range(4)]
            status = "SELECT status FROM builds_build WHERE label LIKE '%outage%'"
            fleet.until(status, lambda rows: rows == [("building",)] * 4)
            own.stop()
            waiting = "SELECT waiting_for FROM builds_build WHERE status = 'queued'"
            rows = fleet.until(waiting, lambda rows: len(rows) == 4)
            assert all(text.startswith("waiting for the registry: ") for (text,) in rows)
            fleet.until(
                "SELECT quarantine_reason FROM builds_worker",
                lambda rows: all("registry" in reason for (reason,) in rows),
            )
            own.start()
            assert {fleet.end_of(each) for each in images} == {"built and pushed"}
            charged = "SELECT count(*) FROM builds_build WHERE label LIKE '%outage%' AND NOT free"
            assert fleet.query(charged) == [(4,)]
    finally:
        own.stop()
