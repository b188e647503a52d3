"""Web and workers in processes of their own, with PostgreSQL, Redis and a registry between them."""

import json
import os
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.accounts.keypair import Keypair
from tests.cluster import Cluster
from tests.conftest import script, zipped
from tests.instance import events, post, send, watch
from tests.s3 import S3, running_s3
from tests.together import at_once
from tests.with_servers import kill, redis

pytestmark = pytest.mark.servers

CONTEXT = zipped(a_txt="a")


def servers() -> dict[str, str]:
    return {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}


@pytest.fixture
def nothing_yet() -> dict[str, str]:
    """The same servers, with nothing of what the others have there."""
    given, name = servers(), f"own_{uuid4().hex}"
    with psycopg.connect(given["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    return {
        "DATABASE_URL": given["DATABASE_URL"].rpartition("/")[0] + f"/{name}",
        "REDIS_URL": given["REDIS_URL"].rpartition("/")[0] + "/1",
    }


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


def test_neither_web_nor_workers_start_on_a_database_of_another_version(
    registry: str, nothing_yet: dict[str, str], tmp_path: Path
) -> None:
    web, worker = (Cluster(tmp_path / name, registry, **nothing_yet) for name in ("web", "worker"))
    starting = {web: web.run("manage.py", "web"), worker: worker.run_worker()}
    for each, process in starting.items():
        assert process.wait(30) != 0
        said = each.output()
        assert re.search(r"lacks \d+ migrations of this version: run `manage.py migrate`", said)


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


def test_what_is_ordered_while_redis_is_away_is_built_when_it_is_back(
    registry: str, nothing_yet: dict[str, str], tmp_path: Path
) -> None:
    with redis(tmp_path) as queue:
        environment = {**nothing_yet, "REDIS_URL": queue.url}
        with Cluster(tmp_path / "data", registry, **environment) as running:
            running.manage("create_user", "patient")
            key = running.manage("create_api_key", "patient").strip()
            running.add_worker()
            queue.kill()
            with running.client(key) as client:
                assert client.get("/readyz").json()["parts"]["queue"] != "ok"
                made = send(client, script("echo ran"), CONTEXT, username="patient")
                queue.start()
                assert watch(client, made["image_id"])[1] == "built and pushed"


def test_machines_that_share_no_folder_work_on_the_same_files(
    registry: str, nothing_yet: dict[str, str], tmp_path: Path
) -> None:
    with running_s3(tmp_path / "s3") as s3:
        environment = {**nothing_yet, **s3.environment(), "SLIPWAY_SECRET_KEY": "the-same-on-all"}
        one = Cluster(tmp_path / "one", registry, **environment)
        other = Cluster(tmp_path / "other", registry, **environment)
        with one:
            one.manage("create_user", "apart")
            key = one.manage("create_api_key", "apart").strip()
            worker = other.run_worker()
            try:
                with one.client(key) as client:
                    _work_apart(client, s3)
            finally:
                worker.terminate()
                worker.wait(30)
        for machine in ("one", "other"):
            files = tmp_path / machine / "files"
            assert not files.exists() or not list(files.iterdir())


def _work_apart(client: httpx.Client, s3: S3) -> None:
    parts = client.get("/readyz").json()["parts"]
    assert parts["storage"] == "ok", parts
    made = send(client, script("repeat 5000 of a line"), CONTEXT, username="apart", name="far")
    lines, status = watch(client, made["image_id"])
    assert status == "built and pushed"
    while not any("/logs/" in key for key in s3.stored()):
        time.sleep(0.2)
    assert any("/contexts/" in key for key in s3.stored())
    text = client.get(f"/images/{made['image_id']}/logs")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert text.text.splitlines() == lines
    found = client.get(f"/images/{made['image_id']}/logs/search", params={"q": "4321 a line"})
    assert found.status_code == 200, found.text
    assert client.delete(f"/images/{made['image_id']}").status_code == 200
    until = time.monotonic() + 30
    while left := s3.stored():
        assert time.monotonic() < until, left
        time.sleep(0.2)
    s3.process.terminate()
    s3.process.wait(20)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "127.0.0.1" in answer.json()["parts"]["storage"]
    refused = post(client, script("echo x"), CONTEXT, username="apart", name="late")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert "storage" in refused.json()["detail"]
    assert client.get("/images/").json()["total"] == 0
