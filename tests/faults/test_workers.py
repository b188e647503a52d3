"""kill -9 of a worker beside others, with the real engine: its build goes on elsewhere."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from builds.engines.sandbox.helper import Helper, HelperError
from builds.failures import WORKER_LOST
from tests.cluster import Cluster, servers
from tests.faults.phases import SlowRegistry, Stand, slow_registry, step
from tests.faults.traces import Traces

pytestmark = [
    pytest.mark.servers,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="builders with limits need root"),
]
HELPERS: list[subprocess.Popen[bytes]] = []


@pytest.fixture(scope="module")
def slow() -> Iterator[SlowRegistry]:
    with slow_registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, registry: str, slow: SlowRegistry
) -> Iterator[Cluster]:
    """A web process, and a helper of its own for the workers that tests add."""
    data_dir = tmp_path_factory.mktemp("workers") / "data"
    environment = {**servers(), **slow.environment()}
    cluster = Cluster(data_dir, registry, engine="buildkit", **environment)
    with cluster:
        cluster.manage("create_user", "admin")
        key = cluster.manage("create_api_key", "admin").strip()
        (data_dir / "admin.key").write_text(key)
        start_helper(cluster)
        yield cluster
        cluster.stop()
        for helper in HELPERS:
            helper.terminate()
            helper.wait(30)
        Traces(data_dir).wait_until_gone()
        assert Traces(data_dir).groups() == []


def start_helper(cluster: Cluster) -> None:
    """As a service of its own; returns when workers can use it."""
    HELPERS.append(cluster.run("manage.py", "helper"))
    helper = Helper(cluster.data_dir / "run/helper.sock")
    until = time.monotonic() + 20
    while True:
        try:
            helper.info()
        except HelperError:
            assert time.monotonic() < until, cluster.output()
            time.sleep(0.05)
        else:
            return


def working(cluster: Cluster, worker: subprocess.Popen[bytes]) -> int:
    """The process of that worker which holds its builds."""
    found = Traces(cluster.data_dir).descendants(worker.pid)
    return next(each.pid for each in found if "manage.py worker" in each.command)


def test_a_build_whose_worker_is_killed_goes_on_at_another(
    cluster: Cluster, slow: SlowRegistry
) -> None:
    first = cluster.add_worker()
    with cluster.client() as client:
        stand = Stand(cluster, client, slow)
        step(stand)
        cluster.add_worker()
        os.kill(working(cluster, first), signal.SIGKILL)
        began = time.monotonic()
        stand.until(lambda: stand.attempts()[0]["status"] == "lost", "the lease's end")
        assert time.monotonic() - began < 30
        stand.until(lambda: stand.attempts()[-1]["status"] == "succeeded", "the image")
        assert [each["status"] for each in stand.attempts()] == ["lost", "succeeded"]
        assert stand.lines(1)[-1] == WORKER_LOST.text
        stand.until(lambda: not any((cluster.data_dir / "builds").iterdir()), "empty folders")
    assert first.wait(30) != 0


def test_workers_end_with_their_helper_and_say_so(cluster: Cluster, slow: SlowRegistry) -> None:
    worker = cluster.add_worker()
    with cluster.client() as client:
        stand = Stand(cluster, client, slow)
        step(stand)
        [helper] = [
            each
            for each in stand.traces.processes()
            if each.name == "python" and "helper/__main__.py" in each.command
        ]
        os.kill(helper.pid, signal.SIGKILL)
        assert worker.wait(30) != 0
        assert "the helper that starts builders has ended" in cluster.output()
        stand.until(lambda: stand.attempts()[0]["status"] == "lost", "the end")
        start_helper(cluster)
        cluster.add_worker()
        stand.until(lambda: stand.attempts()[-1]["status"] == "succeeded", "the image")
