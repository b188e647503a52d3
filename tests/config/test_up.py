"""`manage.py up` as a whole, with the scripted engine: the real one is in tests/test_whole.py."""

import json
import signal
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import script, zipped
from tests.instance import Instance, events, send, watch

CONTEXT = zipped(a_txt="a")


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path / "data", engine="scripted")


def test_it_starts_from_nothing_and_says_where_everything_is(instance: Instance) -> None:
    instance.start(first=True)
    try:
        output = instance.output()
        for address in (f"{instance.url}/images/", f"{instance.url}/admin/", instance.registry):
            assert address in output
        assert (instance.data_dir / "admin.key").stat().st_mode & 0o777 == 0o600
        assert (instance.data_dir / "admin.password").stat().st_mode & 0o777 == 0o600
        ready = httpx.get(f"{instance.url}/readyz", trust_env=False)
        assert ready.status_code == 200, ready.text
        assert set(ready.json()["parts"]) == {
            *("database", "clock", "queue", "storage", "registry", "engine")
        }
    finally:
        instance.stop()


def test_commands_act_on_the_running_instance(instance: Instance) -> None:
    with instance:
        instance.manage("create_user", "alice")
        key = instance.manage("create_api_key", "alice", "--label", "laptop").strip()
        with instance.client(key) as client:
            assert client.get("/images/").json()["total"] == 0


def test_a_second_process_on_the_same_data_is_refused(instance: Instance) -> None:
    with instance, pytest.raises(AssertionError, match="in use by another Slipway"):
        Instance(instance.data_dir, engine="scripted").start()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_starts_again_and_its_follower_runs_on(
    instance: Instance, how: signal.Signals
) -> None:
    instance.start()
    seen: list[str] = []
    cursor = ""
    with instance.client() as client, suppress(httpx.TransportError):
        image = send(client, script("echo begun", "sleep 2", "echo ended"), CONTEXT)
        for event in events(client, image["image_id"]):
            assert event.get("event") != "done"
            cursor = event["id"]
            seen.append(json.loads(event["data"])["log"]["log"])
            if seen[-1] == "begun":
                threading.Thread(target=instance.stop, args=[how]).start()
    assert instance.process is not None
    instance.process.wait(10)
    instance.start()
    with instance.client() as client:
        lines, status = watch(client, image["image_id"], cursor)
    assert status == "built and pushed"
    seen += lines
    [end] = [n for n, line in enumerate(seen) if line.startswith("interrupted")]
    assert seen.count("begun") == 2
    assert seen.index("begun") < end < seen.index("ended")
    assert seen.count("ended") == 1
    assert instance.stop() < 10
