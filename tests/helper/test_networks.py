"""A build reaches the internet and no private address, shown without any internet."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helper import networks
from tests.helper import island
from tests.helper.conftest import needs_root
from tests.helper.running import CHECKOUT

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 203.0.113.9
        /32 host LOCAL
     |-- 203.0.113.255
        /32 link BROADCAST
Local:
     |-- 203.0.113.9
        /32 host LOCAL
"""


@pytest.mark.engine
@pytest.mark.skipif(not networks.TUN.exists(), reason="needs the tun device")
@needs_root
def test_builds_reach_the_internet_and_nothing_private(tmp_path: Path) -> None:
    argv = ["unshare", "--net", sys.executable, "-m", island.__name__, str(tmp_path)]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert all(found["plain"].values()), found["plain"]
    reached = {address for address, answered in found["build"].items() if answered}
    assert reached == {island.PUBLIC, f"ADD {island.PUBLIC}"}
    assert not any(found["offline"].values())


def test_the_hosts_own_addresses_are_found(tmp_path: Path) -> None:
    table = tmp_path / "fib_trie"
    table.write_text(FIB_TRIE)
    assert networks.own_addresses(table) == ["203.0.113.9"]


def test_networks_are_closed_once_and_the_name_server_stays_open() -> None:
    deny = ["203.0.113.0/24", "10.0.0.0/8", "10.0.2.0/24", "10.0.2.3/32", "2001:db8::/32"]
    found = networks.closed(deny, ["198.51.100.7", "10.0.2.15", "127.0.0.2"])
    assert found == [*networks.PRIVATE, "198.51.100.7/32", "203.0.113.0/24"]
