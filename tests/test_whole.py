"""The whole of Slipway as `make up` runs it: real engine, real registry, real requests."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from tests.conftest import zipped
from tests.instance import ROOT, Instance, events, send, watch
from tests.registry import tags_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

BASE = 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
EMPTY = zipped()


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("context") / "context.zip"
    with ZipFile(path, "w") as archive:
        archive.write("/bin/busybox", "busybox")
    return path.read_bytes()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    data_dir = tmp_path_factory.mktemp("whole") / "data"
    running = Instance(data_dir, engine="buildkit", SLIPWAY_DEADLINE="15")
    try:
        running.start(example=True, first=True)
        with running.client() as client:
            # While it builds the example, only one pair of hands is free.
            watch(client, "hello")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(instance: Instance) -> Iterator[httpx.Client]:
    with instance.client() as client:
        yield client


def status_of(client: httpx.Client, ref: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/images/{ref}").raise_for_status().json()
    return found


def eventually(met: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def tags(instance: Instance, repository: str) -> list[str]:
    return tags_of(instance.registry_as_worker(), repository)


def manifest_digest(instance: Instance, reference: str) -> str | None:
    repository, _, tag = reference.rpartition(":")
    return instance.registry_as_worker().digest_of(repository, tag)


def processes_of(data_dir: Path) -> list[str]:
    """Command lines of whatever still runs for this instance, told by the paths they name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(data_dir) in line or "slipway-whole-marker" in line:
                    found.append(line)
    return found


def mounts_of(data_dir: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(data_dir) in line]


def test_the_readmes_commands_do_what_it_says(instance: Instance) -> None:
    readme = (ROOT / "README.md").read_text()
    [block] = [each for each in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "curl" in each]
    script = (
        block.replace("var/", f"{instance.data_dir}/")
        .replace("http://127.0.0.1:8000", instance.url)
        .replace("127.0.0.1:9000", instance.registry)
    )
    watched, separator, deletion = script.partition("# Delete")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", watched],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert '"status":"pending build"' in out
    # The first start built the same: where that has ended already, its layers are taken.
    assert "line 5 of a slow step" in out or "STEP 5/6 (cached)" in out
    assert 'event: done\ndata: "built and pushed"\n\nDONE' in out
    assert out.count('"name":"greeter"') == 4
    [recorded] = set(re.findall(r'"digest":"(sha256:[0-9a-f]{64})"', out))
    assert f'"Digest": "{recorded}"' in out
    deleted = subprocess.run(
        ["bash", "-euc", script.partition("# Create")[0] + separator + deletion],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert '"deleted":true' in deleted.stdout
    eventually(lambda: tags(instance, "admin/greeter") == [], 30)


def test_lines_arrive_while_the_step_that_writes_them_sleeps(
    instance: Instance, client: httpx.Client, busybox: bytes
) -> None:
    step = "RUN for i in 1 2 3 4; do echo tick $i; sleep 1; done\n"
    made = send(client, BASE + step, busybox, name="ticks")
    arrivals = [
        float(event["at"])
        for event in events(client, made["image_id"])
        if re.search(r'"log":"tick \d"', event["data"])
    ]
    assert len(arrivals) == 4
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert all(0.5 < gap < 1.9 for gap in gaps), gaps


def test_build_arguments_choose_the_base_and_reach_the_steps_that_declare_them(
    client: httpx.Client, busybox: bytes
) -> None:
    dockerfile = (
        "ARG BASE\nFROM ${BASE}\nARG WORD\nCOPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo said: \\"$WORD\\" \\"$OTHER\\"."]\n'
    )
    given = {"BASE": "scratch", "WORD": "two words; $HOME `id` 'ü'", "OTHER": "undeclared"}
    made = send(client, dockerfile, busybox, name="arguments", build_args=json.dumps(given))
    lines, status = watch(client, made["image_id"])
    assert status == "built and pushed", lines
    assert f"said: {given['WORD']} ." in lines


def test_a_failing_run_tells_its_exit_code_its_output_and_its_reason_last(
    client: httpx.Client, busybox: bytes
) -> None:
    made = send(client, BASE + "RUN echo about to fail; exit 42\n", busybox, name="failing")
    found = list(events(client, made["image_id"]))
    *logs, done = found
    status = json.loads(done["data"])
    assert status.startswith("error: ")
    assert "42" in status
    lines = [json.loads(event["data"])["log"] for event in logs]
    assert "about to fail" in [line["log"] for line in lines]
    assert lines[-1]["log_type"] == "stderr"
    assert f"error: {lines[-1]['log']}" == status == status_of(client, "failing:1")["status"]


@pytest.mark.parametrize(
    ("name", "dockerfile", "reason"),
    [
        ("syntax", "FROM scratch\nCOPY\n", "COPY"),
        ("unknown", "FROM scratch\nFETCH x\n", "FETCH"),
        ("missing-base", "FROM 127.0.0.1:9/nobody/nothing:1\n", "127.0.0.1:9/nobody/nothing:1"),
        ("missing-file", "FROM scratch\nCOPY nothing /x\n", "nothing"),
    ],
)
def test_what_cannot_be_built_fails_with_a_reason_that_names_it(
    client: httpx.Client, name: str, dockerfile: str, reason: str
) -> None:
    made = send(client, dockerfile, EMPTY, name=name)
    lines, status = watch(client, made["image_id"])
    assert status == f"error: {lines[-1]}"
    assert reason in status


def test_a_build_past_its_deadline_ends_and_leaves_nothing(
    instance: Instance, client: httpx.Client, busybox: bytes
) -> None:
    made = send(client, BASE + "RUN sleep 271\n", busybox, name="endless")
    began = time.monotonic()
    _, status = watch(client, made["image_id"])
    assert 10 < time.monotonic() - began < 25
    assert status == "error: deadline: the build took longer than 15 s"
    assert not [line for line in processes_of(instance.data_dir) if "sleep 271" in line]


def test_deleting_an_image_while_it_builds_ends_the_build(
    instance: Instance, client: httpx.Client, busybox: bytes
) -> None:
    made = send(client, BASE + "RUN echo begun; sleep 272\n", busybox, name="unwanted")
    for event in events(client, made["image_id"]):
        if '"begun"' in event["data"]:
            break
    assert client.delete("/images/unwanted:1").json()["deleted"]
    work = instance.data_dir / "builds"
    eventually(lambda: not list(work.iterdir()), 15)
    assert tags(instance, "admin/unwanted") == []


def test_two_builds_run_at_once(client: httpx.Client, busybox: bytes) -> None:
    step = "RUN echo begun; sleep 3; echo ended {}\n"
    made = [send(client, BASE + step.format(n), busybox, name="both", tag=str(n)) for n in (1, 2)]
    results: list[tuple[float, float]] = []

    def follow(image_id: str) -> None:
        times = [
            float(event["at"])
            for event in events(client, image_id)
            if re.search('"log":"(begun|ended .)"', event["data"])
        ]
        results.append((times[0], times[1]))

    threads = [threading.Thread(target=follow, args=[each["image_id"]]) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (begun_a, ended_a), (begun_b, ended_b) = results
    assert max(begun_a, begun_b) < min(ended_a, ended_b)


def test_deleting_an_image_leaves_the_tags_of_others_with_the_same_layers(
    instance: Instance, client: httpx.Client, busybox: bytes
) -> None:
    for tag in ("old", "new"):
        made = send(client, BASE, busybox, name="layers", tag=tag)
        assert watch(client, made["image_id"])[1] == "built and pushed"
    lines, _ = watch(client, "layers:new")
    assert any("cache" in line.lower() for line in lines)
    digests = {tag: status_of(client, f"layers:{tag}")["digest"] for tag in ("old", "new")}
    assert digests["old"] != digests["new"]
    for tag, digest in digests.items():
        assert manifest_digest(instance, f"admin/layers:{tag}") == digest
    client.delete("/images/layers:old")
    eventually(lambda: "old" not in tags(instance, "admin/layers"), 30)
    assert manifest_digest(instance, "admin/layers:new") == digests["new"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_during_a_build_leaves_no_process_mount_or_folder_and_the_build_starts_again(
    tmp_path: Path, busybox: bytes, how: signal.Signals
) -> None:
    mark = f"slipway-whole-marker-{how}"
    instance = Instance(tmp_path / "data", engine="buildkit")
    instance.start()
    step = f"RUN echo begun; sleep 4; echo {mark} > /dev/null; echo ended\n"
    cursor = ""
    took: list[float] = []
    with instance.client() as client, suppress(httpx.TransportError):
        made = send(client, BASE + step, busybox)
        for event in events(client, made["image_id"]):
            cursor = event["id"]
            if '"begun"' in event["data"]:
                assert [line for line in processes_of(instance.data_dir) if mark in line]
                stop = threading.Thread(target=lambda: took.append(instance.stop(how)))
                stop.start()
    stop.join()
    assert took[0] < 10
    eventually(lambda: processes_of(instance.data_dir) == [], 5)
    assert mounts_of(instance.data_dir) == []
    instance.start()
    with instance.client() as client:
        lines, status = watch(client, made["image_id"], cursor)
        assert status == "built and pushed"
        assert lines.count("ended") == 1
        assert status_of(client, made["image_id"])["build"]["number"] == 2
    eventually(lambda: list((instance.data_dir / "builds").iterdir()) == [], 5)
    assert instance.stop() < 10
    eventually(lambda: processes_of(instance.data_dir) == [], 5)


def test_a_base_in_our_own_registry_is_what_its_owner_lets_one_have(
    instance: Instance, client: httpx.Client, busybox: bytes
) -> None:
    instance.manage("create_user", "stranger")
    strangers_key = instance.manage("create_api_key", "stranger").strip()
    for name, public in (("own-private", "false"), ("own-public", "true")):
        step = f"RUN echo of {name} > /mark-{name}\n"
        made = send(client, BASE + step, busybox, name=name, public=public)
        assert watch(client, made["image_id"])[1] == "built and pushed"
    over = f"FROM {instance.registry}/admin/own-{{}}:1\nRUN cat /mark-*; echo {{}} > /own\n"
    # Twice, as the second finds base and layers where the first left them.
    for n in ("first", "second", "second"):
        made = send(client, over.format("private", n), EMPTY, name="over", tag=f"{n}-{time.time()}")
        lines, status = watch(client, made["image_id"])
        assert status == "built and pushed", lines
        assert "of own-private" in lines or any("(cached)" in line for line in lines)
    with instance.client(strangers_key) as stranger:
        for kind, wanted in (("public", "built and pushed"), ("private", "error: The base image")):
            made = send(
                stranger, over.format(kind, "x"), EMPTY, username="stranger", name=f"over-{kind}"
            )
            lines, status = watch(stranger, made["image_id"])
            assert status.startswith(wanted), lines
            assert ("of own-public" in lines) == (kind == "public")
        assert "does not exist, or is private to somebody else" in status
    # Nothing of it is where builds of others look.
    digest = client.get("/images/own-private:1").json()["digest"].removeprefix("sha256:")
    stores = instance.data_dir / "engine/base-images"
    kept = [path.relative_to(stores).parts[0] for path in stores.rglob(digest)]
    assert kept == ["owners"]
