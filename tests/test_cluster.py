"""Web and workers in processes of their own, with PostgreSQL, Redis and a registry between them."""

import json
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import LiteralString

import httpx
import psycopg
import pytest

from tests.accounts.keypair import Keypair
from tests.cluster import Cluster, servers
from tests.conftest import script, zipped
from tests.instance import events, send, watch
from tests.together import at_once
from tests.with_servers import kill

pytestmark = pytest.mark.servers

CONTEXT = zipped(a_txt="a")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster") / "data", registry, **servers()) as running:
        running.manage("create_user", "cluster-owner")
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    key = cluster.manage("create_api_key", "cluster-owner").strip()
    with cluster.client(key) as client:
        yield client


def test_a_build_ordered_at_one_process_runs_in_another_and_is_watched_live(
    cluster: Cluster, client: httpx.Client
) -> None:
    cluster.add_worker()
    steps = [step for n in range(6) for step in (f"echo tick {n}", "sleep 0.3")]
    made = send(client, script(*steps), CONTEXT, username="cluster-owner", name="live")
    delays = []
    for event in events(client, made["image_id"]):
        data = json.loads(event["data"])
        if isinstance(data, dict) and data["log"]["log"].startswith("tick "):
            delays.append(float(event["at"]))
    assert len(delays) == 6
    gaps = [later - earlier for earlier, later in pairwise(delays)]
    # Without the bell, lines would come in bursts each second.
    assert max(gaps) < 0.8, gaps


def test_a_build_whose_worker_is_killed_goes_on_elsewhere_within_thirty_seconds(
    cluster: Cluster, client: httpx.Client
) -> None:
    for worker in cluster.workers:
        kill(worker)
    victim = cluster.add_worker()
    made = send(
        client, script("echo begun", "sleep 3"), CONTEXT, username="cluster-owner", name="killed"
    )
    for event in events(client, made["image_id"]):
        if '"begun"' in event["data"]:
            break
    kill(victim)
    killed_at = time.monotonic()
    cluster.add_worker()
    lines, status = watch(client, made["image_id"], "1:0")
    assert status == "built and pushed"
    assert time.monotonic() - killed_at < 40
    assert sum(line.startswith("interrupted") for line in lines) == 1


def test_pause_and_drain_are_obeyed_in_other_processes(
    cluster: Cluster, client: httpx.Client
) -> None:
    def ask(what: str) -> None:
        code = f"from builds import lifecycle as l; from builds.models import Worker; {what}"
        cluster.manage("shell", "-v", "0", "-c", code)

    def select(query: LiteralString) -> list[str]:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            return [row[0] for row in connection.execute(query)]

    def begin(name: str) -> str:
        made = send(client, script("echo ran"), CONTEXT, username="cluster-owner", name=name)
        return str(made["image_id"])

    def names() -> set[str]:
        return set(select("SELECT name FROM builds_worker"))

    earlier = names()  # some of them killed, and not yet forgotten
    for _ in range(2):
        cluster.add_worker()
    while len(both := names() - earlier) < 2:
        time.sleep(0.5)
    one, other = both
    ask("l.request_pause(by='operator')")
    paused = begin("paused")
    time.sleep(3)  # its message is long gone
    assert client.get(f"/images/{paused}").json()["build"]["status"] == "queued"
    ask("l.request_resume()")
    assert watch(client, paused)[1] == "built and pushed"
    ask(f"[l.request_drain(name) for name in {[other, *earlier]!r}]")
    for n in range(3):
        assert watch(client, begin(f"drained-{n}"))[1] == "built and pushed"
    took = select("SELECT worker FROM builds_build WHERE label LIKE '%/drained-%'")
    assert took == [one] * 3
    ask(f"l.request_drain({one!r}); l.request_undrain({other!r})")
    assert watch(client, begin("other-hands"))[1] == "built and pushed"
    ended = cluster.workers[-1]
    ended.terminate()
    ended.wait(30)
    assert len(both - names()) == 1
    ask("[l.request_undrain(each.name) for each in Worker.objects.draining()]")


def test_each_part_that_a_cluster_needs_is_named_as_ready(cluster: Cluster) -> None:
    answer = httpx.get(f"{cluster.url}/readyz", trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["parts"]["queue"] == "ok"


def test_of_two_processes_with_one_signature_one_takes_it(
    cluster: Cluster, registry: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = Keypair(5)
    cluster.manage("create_user", "cluster-signer", "--hotkey", key.hotkey)
    with (
        Cluster(tmp_path_factory.mktemp("second") / "data", registry, **servers()) as second,
        httpx.Client(base_url=cluster.url, trust_env=False) as one,
        httpx.Client(base_url=second.url, trust_env=False) as other,
    ):
        for client in (one, other):
            client.get("/healthz")  # so that both are connected
        for _ in range(10):
            headers = {
                name.removeprefix("HTTP_").replace("_", "-"): value
                for name, value in key.headers().items()
            }
            for client in (one, other):
                client.headers.update(headers)
            answers = at_once(lambda client: client.get("/images/"), one, other)
            assert sorted(answer.status_code for answer in answers) == [200, 401]
