"""What a fetch sees and reaches: a shell in the place of skopeo looks around."""

import re
import time
from pathlib import Path

import pytest

from builds.engines.base import BuildInterrupted, EngineBroken
from builds.engines.base_images import sandbox
from builds.engines.base_images.addresses import AddressPolicy, endpoints
from builds.engines.base_images.sandbox import (
    Fetch,
    FetchSandbox,
    loopback_targets,
    registries_conf,
)
from builds.engines.sandbox.settings import EngineSettings
from tests.builds.engines.base_images.conftest import Fetcher, finish
from tests.builds.engines.base_images.scripted_registry import ScriptedRegistry


class Shell:
    """Runs a line of shell where skopeo would run."""

    def __init__(self, engine_root: Path, folder: Path) -> None:
        settings = EngineSettings(root=folder, engine_root=engine_root)
        self._sandbox = FetchSandbox(settings, folder / "etc")
        self.out = folder / "out"
        self.out.mkdir()

    def __call__(self, line: str, *configured: str, known: dict[str, Path] | None = None) -> str:
        allowed = frozenset(each for place in configured for each in endpoints(place))
        fetch = Fetch(
            arguments=("sh", "-c", line),
            policy=AddressPolicy(allowed, resolve=lambda host, _: [host]),
            max_bytes=1 << 20,
            max_output=1 << 20,
            until=time.monotonic() + 60,
            out=self.out,
            known=known or {},
        )
        fetched, _ = finish(self._sandbox.run(fetch))
        return fetched.output.decode() + fetched.errors


@pytest.fixture
def shell(engine_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(sandbox, "SKOPEO", ("/usr/bin/busybox",))
    return Shell(engine_root, tmp_path)


def test_it_sees_the_engine_root_and_its_own_folders_only(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("planted")
    seen = set(shell("ls /").split())
    assert seen == {"bin", "dev", "etc", "lib", "lib64", "out", "proc", "sbin", "tmp", "usr"}
    assert "planted" not in shell(f"cat {tmp_path}/secret")
    assert shell("env | sort").splitlines()[0].startswith("GOMEMLIMIT=")
    numbers = [each for each in shell("ls /proc").split() if each.isdigit()]
    assert 0 < len(numbers) < 5
    assert shell("ls /sys /home /root /run /var").count("No such file") == 5


def test_it_writes_to_its_output_folder_only(shell: Shell, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text("known")
    line = "for f in /usr/x /etc/x /x /bin/x /out/blobs/k; do echo y >$f; done; echo ok >/out/new"
    said = shell(line, known={"blobs/k": known})
    assert said.count("Read-only file system") == 5
    assert known.read_text() == "known"
    assert (shell.out / "new").read_text() == "ok\n"


def test_it_has_no_rights_over_its_namespaces(shell: Shell) -> None:
    status = shell("cat /proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for line in ("mount -t tmpfs x /tmp", "ip link add d type dummy", "ip link set lo down"):
        assert re.search("not permitted|denied", shell(line))
    assert "No space left" in shell("unshare -U true")
    assert shell("ip -o link | wc -l").strip() == "1"


def test_it_reaches_this_machine_only_where_it_is_configured(
    shell: Shell, target: ScriptedRegistry
) -> None:
    line = f"unset HTTP_PROXY http_proxy; wget -T 5 -q -O- http://{target.address}/v2/"
    assert "refused" in shell(line)
    assert target.requests == []
    assert shell(line, target.address) == "{}"
    assert target.requests == ["GET /v2/"]


def test_a_file_grows_to_the_budget_at_most(shell: Shell) -> None:
    said = shell("dd if=/dev/zero of=/out/big bs=65536 count=64; echo then $?")
    assert "then 0" not in said
    assert (shell.out / "big").stat().st_size == 1 << 20


def test_nothing_of_it_outlives_the_run(shell: Shell) -> None:
    shell("setsid sh -c 'while :; do echo y >>/out/tick; done' & sleep 0.1")
    size = (shell.out / "tick").stat().st_size
    time.sleep(0.1)
    assert (shell.out / "tick").stat().st_size == size > 0


def test_a_sandbox_that_does_not_start_is_no_fault_of_the_image(
    fetcher: Fetcher, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    registry.image()
    fetcher.configure(engine_root=tmp_path / "nothing here")
    with pytest.raises(EngineBroken, match="does not start") as broken:
        fetcher(registry.reference())
    assert str(tmp_path) not in broken.value.text


def test_a_fetch_that_somebody_kills_is_no_fault_of_the_image(
    fetcher: Fetcher, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.image()
    monkeypatch.setattr(sandbox, "SKOPEO", ("/usr/bin/bash", "-c", "kill -9 $$"))
    with pytest.raises(BuildInterrupted, match="killed"):
        fetcher(registry.reference())


def test_configured_places_on_loopback_are_listened_for() -> None:
    places = [
        each
        for text in (
            "localhost:5000",
            "127.0.0.1:5000",
            "127.0.0.9:1",
            "[::1]:2",
            "lan.test:3",
            "10.0.0.1:4",
        )
        for each in endpoints(text)
    ]
    assert dict(loopback_targets(places)) == {
        ("127.0.0.1", 5000): ("127.0.0.1", 5000),
        ("127.0.0.9", 1): ("127.0.0.9", 1),
        ("::1", 2): ("::1", 2),
    }


def test_registries_are_told_of_mirrors_and_of_missing_tls() -> None:
    text = registries_conf(
        EngineSettings(
            root=Path("/nowhere"),
            mirrors=(("docker.io", "a.test:1/hub"), ("docker.io", "b.test")),
            insecure_registries=frozenset({"a.test:1", 'c"\n.test'}),
        )
    )
    assert text.count("[[registry]]") == 3
    assert text.count("[[registry.mirror]]") == 2
    assert 'location = "a.test:1/hub"\ninsecure = true' in text
    assert 'location = "b.test"\ninsecure = false' in text
    assert 'prefix = "docker.io"\nlocation = "docker.io"\ninsecure = false' in text
    assert r'prefix = "c\"\n.test"' in text
