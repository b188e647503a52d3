"""A build has the internet and no private address, shown without any internet."""

import ipaddress
import json
import os
import sys
from pathlib import Path

import pytest

from builds.engines.sandbox.networks import PRIVATE, denied, own_addresses
from builds.process import CLEAN_ENV, run
from tests.builds.engines import island
from tests.builds.engines.conftest import Workshop
from tests.engine_root import ENGINE_ROOT, VARIABLE

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 198.51.100.9
        /32 host LOCAL
     |-- 198.51.100.255
        /32 link BROADCAST
Local:
     |-- 198.51.100.9
        /32 host LOCAL
"""


@pytest.mark.engine
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make an island")
def test_builds_reach_the_internet_and_nothing_private(
    workshop: Workshop, hidden: Path, base: str
) -> None:
    workshop.run("FROM BASE\nRUN true\n")  # there is no registry on the island
    command = [sys.executable, "-m", island.__name__, str(hidden), base]
    said = run(
        ["unshare", "--net", *command],
        deadline=60,
        env=CLEAN_ENV | {"PYTHONPATH": str(Path.cwd()), VARIABLE: str(ENGINE_ROOT.path)},
    )
    found = json.loads(said.stdout)
    assert all(found["control"].values()), found["control"]
    assert {a for a, answered in found["builds"].items() if answered} == {
        island.PUBLIC,
        f"ADD {island.PUBLIC}",
    }


def test_the_hosts_own_addresses_are_closed_whatever_they_are(tmp_path: Path) -> None:
    table = tmp_path / "fib_trie"
    table.write_text(FIB_TRIE)
    assert own_addresses(table) == ["198.51.100.9"]


def test_what_the_operator_closes_is_closed_too() -> None:
    closed = denied(["198.51.100.0/24", "198.51.100.7"])
    assert {"198.51.100.0/24", "198.51.100.7/32", "192.168.0.0/16"} <= set(closed)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
)
def test_private_addresses_are_in_the_list(address: str) -> None:
    assert any(ipaddress.ip_address(address) in ipaddress.ip_network(n) for n in PRIVATE)
