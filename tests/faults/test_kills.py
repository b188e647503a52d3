"""kill -9 of each process in each phase of a build: its verdict, and that nothing is left."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from builds.failures import BUILDER_LOST, WORKER_LOST
from tests.faults.phases import PHASES, VICTIMS, SlowRegistry, Stand, slow_registry
from tests.faults.traces import Traces
from tests.instance import Instance

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="control groups and cache images need root"),
]
SETTLE_SECONDS = 30.0
SHORT = [("step", "server"), ("step", "daemon"), ("step", "client"), ("step", "helper")]
LONG = [
    *(("fetch", each) for each in ("server", "helper", "daemon", "skopeo")),
    *(("unpack", each) for each in ("server", "helper")),
    *(("start", each) for each in ("server", "helper", "daemon")),
    *(("export", each) for each in ("server", "helper", "daemon", "client")),
    *(("push", each) for each in ("server", "helper", "daemon", "skopeo")),
]
ENDS_SLIPWAY = {"server", "helper"}
UNHURT = {("fetch", "skopeo"), ("push", "daemon"), ("push", "skopeo")}
"""What is tried again, or needed no more: the first attempt succeeds."""
ANYHOW = {("export", "daemon"), ("export", "client")}
"""It may have been over by then."""


@pytest.fixture(scope="module")
def slow() -> Iterator[SlowRegistry]:
    with slow_registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, slow: SlowRegistry) -> Iterator[Instance]:
    data_dir = tmp_path_factory.mktemp("faults") / "data"
    running = Instance(data_dir, engine="buildkit", **slow.environment())
    yield running
    running.stop()
    Traces(data_dir).wait_until_gone()
    assert Traces(data_dir).groups() == []


@pytest.fixture
def stand(instance: Instance, slow: SlowRegistry) -> Iterator[Stand]:
    if instance.process is None or instance.process.poll() is not None:
        instance.start()
    slow.open.set()
    with instance.client() as client:
        yield Stand(instance, client, slow)


def cold(stand: Stand) -> None:
    """Have neither a builder nor a base image, as at the very first build."""
    stand.instance.stop()
    stand.traces.wait_until_gone()
    stores = stand.instance.data_dir / "engine/base-images"
    shutil.rmtree(stores, ignore_errors=True)
    stand.instance.start()


def settle(stand: Stand, phase: str, victim: str) -> float:
    """Kill, wait until the attempt is settled, start again where need be; return the seconds."""
    began = time.monotonic()
    pid = VICTIMS[victim](stand)
    os.kill(pid, signal.SIGKILL)
    stand.slow.open.set()
    if victim not in ENDS_SLIPWAY:
        stand.until(lambda: stand.attempts()[0]["status"] in {"succeeded", "lost"}, "the end")
        return time.monotonic() - began
    process = stand.instance.process
    assert process is not None
    code = process.wait(SETTLE_SECONDS)
    stand.traces.wait_until_gone(SETTLE_SECONDS)
    took = time.monotonic() - began
    if victim == "helper":
        assert code == 1
        assert "the helper that starts builders has ended" in stand.instance.output()
    stand.instance.start()
    return took


@pytest.mark.parametrize(
    ("phase", "victim"),
    [
        *(pytest.param(*each, id="-".join(each)) for each in SHORT),
        *(pytest.param(*each, id="-".join(each), marks=pytest.mark.long) for each in LONG),
    ],
)
def test_a_killed_process_costs_no_image_and_leaves_nothing(
    stand: Stand, phase: str, victim: str, record_property: Callable[[str, object], None]
) -> None:
    if phase in {"fetch", "start"}:
        cold(stand)
    PHASES[phase](stand)
    took = settle(stand, phase, victim)
    assert took < SETTLE_SECONDS
    stand.until(lambda: stand.attempts()[-1]["status"] == "succeeded", "the image")
    first, *others = stand.attempts()
    record_property("fault", f"{took:.1f} s, {first['status']}, {first['failure']}")
    if (phase, victim) in UNHURT or ((phase, victim) in ANYHOW and not others):
        assert first["status"] == "succeeded"
        assert others == []
    else:
        reason = WORKER_LOST if victim == "server" else BUILDER_LOST
        assert first["status"] == "lost"
        assert first["failure"]["fault"] == "service"
        assert first["failure"]["text"] == reason.text
        assert stand.lines(1)[-1] == reason.text
        assert [each["status"] for each in others] == ["succeeded"]
        assert "ended" in stand.lines(2) or any("(cached)" in each for each in stand.lines(2))
    assert stand.lines()[-1].startswith("Built and pushed as sha256:")
    stand.until(lambda: not any((stand.instance.data_dir / "builds").iterdir()), "empty folders")
    stand.until(lambda: _only_builders_are_kept(stand), "the end of what no builder needs")


def _only_builders_are_kept(stand: Stand) -> bool:
    kept = len(stand.sandboxes())
    daemons = [each for each in stand.traces.processes() if each.name == "dockerd"]
    return len(stand.traces.loops()) == kept == len(daemons)
