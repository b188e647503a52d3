"""A cluster whose DATABASE_URL leads through PgBouncer, which gives each transaction a server."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster import Cluster, own_servers
from tests.conftest import script, zipped
from tests.instance import send, watch
from tests.with_servers import answers, free_port

pytestmark = [pytest.mark.servers, pytest.mark.long]
CONFIG = """[databases]
* = host=127.0.0.1 port={server_port} user=slipway
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
"""


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[dict[str, str]]:
    """DATABASE_URL of a PgBouncer with four connections in front of PostgreSQL, and REDIS_URL."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "apt-get install pgbouncer"
    port, own = free_port(), own_servers(queue=5)
    server = urlsplit(own["DATABASE_URL"])
    folder = Path("/tmp") / f"pgbouncer-{port}"
    folder.mkdir(mode=0o755)
    file = folder / "pgbouncer.ini"
    file.write_text(CONFIG.format(port=port, server_port=server.port))
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    command = [*(become if os.geteuid() == 0 else []), program, str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, "it did not start"
            assert time.monotonic() < until, "it does not answer"
            time.sleep(0.05)
        yield {**own, "DATABASE_URL": f"postgres://slipway@127.0.0.1:{port}{server.path}"}
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def test_a_cluster_works_through_pgbouncer(
    pooled: dict[str, str], registry: str, tmp_path: Path
) -> None:
    environment = {**pooled, "SLIPWAY_DAILY_BUILDS": "100"}
    with Cluster(tmp_path / "data", registry, **environment) as cluster:
        cluster.manage("create_user", "pooled")
        key = cluster.manage("create_api_key", "pooled").strip()
        for _ in range(2):
            cluster.add_worker()
        with cluster.client(key) as client:
            made = [
                send(
                    client,
                    script("repeat 3000 of a line"),
                    zipped(a_txt="a"),
                    username="pooled",
                    name=f"pooled-{n}",
                )["image_id"]
                for n in range(4)
            ]
            for image in made:
                lines, status = watch(client, image)
                assert status == "built and pushed"
                assert len(lines) > 3000
            for _ in range(30):
                assert client.get("/images/").json()["total"] == 4
                assert client.get(f"/images/{made[0]}").status_code == 200
                assert client.get(f"/images/{made[0]}/logs").status_code == 200
    assert "prepared statement" not in cluster.output()
