"""Clusters that share nothing with others: of another version, of many machines, without Redis."""

import re
import time
from pathlib import Path

import httpx
import pytest

from tests.cluster import Cluster, own_servers
from tests.conftest import script, zipped
from tests.instance import post, send, watch
from tests.s3 import S3, running_s3
from tests.with_servers import redis

pytestmark = pytest.mark.servers

CONTEXT = zipped(a_txt="a")


@pytest.fixture
def nothing_yet() -> dict[str, str]:
    return own_servers(queue=1)


def test_neither_web_nor_workers_start_on_a_database_of_another_version(
    registry: str, nothing_yet: dict[str, str], tmp_path: Path
) -> None:
    web, worker = (Cluster(tmp_path / name, registry, **nothing_yet) for name in ("web", "worker"))
    starting = {web: web.run("manage.py", "web"), worker: worker.run_worker()}
    for each, process in starting.items():
        assert process.wait(30) != 0
        said = each.output()
        assert re.search(r"lacks \d+ migrations of this version: run `manage.py migrate`", said)


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
