"""What the BuildKit engine does beyond the promises: limits, steps, cache, faults, and cleaning."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from builds.engines.base import BuildFailed, BuildInterrupted, EngineBroken, EngineError
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from builds.process import CLEAN_ENV, run
from tests.builds.engines.conftest import (
    ROOMY,
    STRANGER,
    Ran,
    Workshop,
    drive,
    engine_of,
    listen,
    push,
)
from tests.engine_root import ENGINE_ROOT
from tests.faults.traces import Traces

pytestmark = pytest.mark.engine
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="limits and cache images need root")
EVERYTHING = 1 << 60


def mentioning(text: str) -> list[int]:
    """Every process with `text` in its command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@as_root
def test_a_step_that_takes_too_much_memory_is_told_its_limit(workshop: Workshop) -> None:
    failed, _ = workshop.fails(
        "FROM BASE\nRUN ONCE; dd if=/dev/zero of=/dev/null bs=900M count=1\n",
        limits=replace(ROOMY, memory_bytes=400 << 20),
        owner=uuid4(),
    )
    assert failed.code == "memory"
    assert "400 MiB" in failed.text
    assert "Dockerfile line 2" in failed.text


@as_root
def test_a_killed_process_that_the_shell_hides_is_told_in_the_log(workshop: Workshop) -> None:
    ran = workshop.run(
        "FROM BASE\nRUN ONCE; dd if=/dev/zero of=/dev/null bs=900M count=1 | cat; true\n",
        limits=replace(ROOMY, memory_bytes=400 << 20),
        owner=uuid4(),
    )
    assert b"were killed for lack of memory" in ran.stderr


@as_root
def test_a_step_that_forks_too_much_is_told_its_limit(workshop: Workshop) -> None:
    failed, _ = workshop.fails(
        "FROM BASE\nRUN ONCE; for i in $(seq 400); do sleep 20 & done; wait\n",
        limits=replace(ROOMY, pids=200),
        owner=uuid4(),
    )
    assert failed.code == "step"
    assert "200 processes" in failed.text


@as_root
def test_limits_hold_for_the_build_that_has_them_on_a_warm_builder(workshop: Workshop) -> None:
    owner = uuid4()
    workshop.run("FROM BASE\nRUN ONCE\n", owner=owner)
    tight = replace(ROOMY, memory_bytes=400 << 20)
    takes = "FROM BASE\nRUN ONCE; dd if=/dev/zero of=/dev/null bs=500M count=1\n"
    failed, _ = workshop.fails(takes, owner=owner, limits=tight)
    assert failed.code == "memory"
    assert workshop.run(takes, owner=owner).outcome.digest


@as_root
def test_a_full_cache_is_told_and_the_next_build_goes_on(
    workshop: Workshop, tuned: Callable[..., BuildKitEngine]
) -> None:
    workshop.engine = tuned(cache_bytes=300 << 20)
    owner = uuid4()
    failed, _ = workshop.fails(
        "FROM BASE\nRUN ONCE; dd if=/dev/zero of=/big bs=1M count=600\n", owner=owner
    )
    assert failed.code == "disk"
    assert "disk space" in failed.text
    assert workshop.run("FROM BASE\nRUN ONCE; echo fine\n", owner=owner).outcome.digest


@as_root
def test_a_daemon_that_ends_with_a_full_cache_is_told_as_a_full_cache(
    workshop: Workshop, settings: EngineSettings, tuned: Callable[..., BuildKitEngine]
) -> None:
    workshop.engine = tuned(cache_bytes=300 << 20)
    spec = workshop.spec(
        "FROM BASE\nRUN ONCE; dd if=/dev/zero of=/big bs=1M count=600; echo full; sleep 60\n",
        owner=uuid4(),
    )
    others = {each.pid for each in Traces(settings.root.parent).processes()}
    build = workshop.engine.build(spec)
    listen(build, b"full")
    for each in Traces(settings.root.parent).processes():
        if each.name == "dockerd" and each.pid not in others:
            os.kill(each.pid, signal.SIGKILL)
    with pytest.raises(BuildFailed) as failed:
        drive(build)
    assert failed.value.code == "disk"


@as_root
def test_files_without_a_name_count_as_much_as_others(
    workshop: Workshop, tuned: Callable[..., BuildKitEngine]
) -> None:
    workshop.engine = tuned(cache_bytes=300 << 20)
    owner = uuid4()
    script = "exec 3>/x; rm /x; dd if=/dev/zero bs=1M count=600 >&3"
    failed, _ = workshop.fails(f"FROM BASE\nRUN ONCE; {script}\n", owner=owner)
    assert "disk space" in failed.text


def test_a_disk_that_is_nearly_full_takes_no_more(
    workshop: Workshop, tuned: Callable[..., BuildKitEngine]
) -> None:
    workshop.engine = tuned(reserve_bytes=1 << 60)
    with pytest.raises(EngineBroken) as failed:
        workshop.run("FROM BASE\nRUN ONCE; sleep 3\n", owner=uuid4())
    assert failed.value.code == "disk"


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ("FOO bar", "syntax", "Dockerfile line 2: unknown instruction: FOO"),
        ("ENV A=1 # not a comment", "syntax", "Dockerfile line 2: "),
        ("COPY nope /x", "step", "Dockerfile line 2: COPY nope /x failed: /nope does not exist."),
        ("COPY --from=nowhere /a /b", "base", "Dockerfile line 2"),
        ('RUN ["/no/such"]', "step", "failed with exit code 127. /no/such does not exist"),
        ("RUN ONCE; exit 125", "step", "exit code 125"),
        ("USER 70000\nRUN id", "step", "ids end at 65535"),
        ("COPY --chown=70000 f /f", "step", "ids end at 65535"),
        ("ADD cut.tgz /t/", "step", "the archive is damaged"),
    ],
)
def test_a_mistake_is_named(workshop: Workshop, lines: str, code: str, words: str) -> None:
    files = {"f": "x", "cut.tgz": damaged_archive()}
    failed, _ = workshop.fails(f"FROM BASE\n{lines}\n", files=files)
    assert failed.code == code
    assert words in failed.text
    assert "/b/" not in failed.text


def damaged_archive() -> bytes:
    """The first half of a tar.gz."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        member = tarfile.TarInfo("random")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(os.urandom(member.size)))
    return whole.getvalue()[: len(whole.getvalue()) // 2]


def test_steps_of_stages_side_by_side_keep_their_output(workshop: Workshop) -> None:
    ran = workshop.run(
        "FROM BASE AS a\nRUN ONCE; for i in 1 2 3; do echo a$i; sleep 0.1; done\n"
        "FROM BASE AS b\nRUN ONCE; for i in 1 2 3; do echo b$i; sleep 0.1; done\n"
        "FROM a\nCOPY --from=b /bin/busybox /b\n"
    )
    said = {
        step: b"".join(each.data for each in ran.outputs if each.step == step) for step in (2, 4)
    }
    assert said == {2: b"a1\na2\na3\n", 4: b"b1\nb2\nb3\n"}
    for step in (1, 2, 3, 4, 6):
        assert [state for number, state in ran.states if number == step][-1] in {
            "succeeded",
            "cached",
        }
        assert len([state for number, state in ran.states if number == step]) <= 2


FORGERIES = (
    "STEP 9/9: COMMIT",
    "#7 [2/2] RUN forged",
    "#7 DONE 0.0s",
    "#7 CACHED",
    "ERROR: failed to solve: forged",
    "Dockerfile:1",
    '{\\n  \\"vertexes\\": [{\\"digest\\": \\"sha256:0\\", \\"name\\": \\"[1/1] RUN x\\"}]\\n}',
)


def test_nothing_that_a_step_prints_forges_a_step(workshop: Workshop) -> None:
    prints = "; ".join(f"printf '%b\\n' '{line}' | tee /dev/stderr" for line in FORGERIES)
    ran = workshop.run(f"FROM BASE\nRUN ONCE; {prints}\nRUN echo last\n")
    assert [state for number, state in ran.states if number == 2] == ["started", "succeeded"]
    assert {number for number, _ in ran.states} == {1, 2, 3}
    for line in FORGERIES[:-1]:
        assert f"{line}\n" in ran.stdout.decode()
        assert f"{line}\n" in ran.stderr.decode()
    failed, _ = workshop.fails(f"FROM BASE\nRUN ONCE; {prints}; exit 7\n")
    assert (failed.exit_code, "Dockerfile line 2" in failed.text) == (7, True)


def test_a_rebuild_from_cache_runs_nothing_and_has_another_digest(workshop: Workshop) -> None:
    spec = workshop.spec("FROM BASE\nRUN ONCE; echo working\n")
    first = workshop.build(spec)
    second = workshop.build(workshop.again(spec))
    assert b"working" in first.stdout
    assert b"working" not in second.stdout
    assert (2, "cached") in second.states
    assert first.outcome.digest != second.outcome.digest
    assert layers(first) == layers(second)


def test_no_cache_runs_every_step_again(workshop: Workshop) -> None:
    spec = workshop.spec("FROM BASE\nRUN ONCE; echo working\n")
    workshop.build(spec)
    again = replace(workshop.again(spec), no_cache=True)
    assert b"working" in workshop.build(again).stdout


def test_a_target_builds_its_stage_and_not_what_follows(workshop: Workshop) -> None:
    ran = workshop.run(
        "FROM BASE AS wanted\nRUN ONCE; echo wanted\nFROM BASE\nRUN exit 9\n", target="wanted"
    )
    assert b"wanted" in ran.stdout


def config(ran: Ran) -> dict[str, dict[str, object]]:
    blobs = ran.outcome.layout / "blobs/sha256"
    manifest = json.loads((blobs / ran.outcome.digest.removeprefix("sha256:")).read_text())
    digest = manifest["config"]["digest"].removeprefix("sha256:")
    found: dict[str, dict[str, object]] = json.loads((blobs / digest).read_text())
    return found


def layers(ran: Ran) -> list[object]:
    blob = ran.outcome.layout / "blobs/sha256" / ran.outcome.digest.removeprefix("sha256:")
    return list(json.loads(blob.read_text())["layers"])


def test_labels_are_added_over_those_of_the_dockerfile(workshop: Workshop) -> None:
    ran = workshop.run("FROM BASE\nLABEL a=1 b=2\n", labels={"b": "three", "c d": "="})
    labels = config(ran)["config"]["Labels"]
    assert isinstance(labels, dict)
    assert labels.items() >= {"a": "1", "b": "three", "c d": "="}.items()


def test_build_arguments_reach_the_step(workshop: Workshop) -> None:
    ran = workshop.run(
        "FROM BASE\nARG GREETING\nRUN ONCE; echo $GREETING\n",
        build_args={"GREETING": "good day, {name} $HOME"},
    )
    assert b"good day, {name} $HOME\n" in ran.stdout


def test_nobody_gets_another_owners_cache(workshop: Workshop) -> None:
    spec = workshop.spec("FROM BASE\nRUN ONCE; echo working\n")
    workshop.build(spec)
    theirs = replace(workshop.again(spec), owner_id=STRANGER)
    assert b"working" in workshop.build(theirs).stdout


def test_a_cache_mount_lasts_from_build_to_build_of_its_owner(workshop: Workshop) -> None:
    mount = "--mount=type=cache,target=/cache"
    reads = f"FROM BASE\nRUN {mount} ONCE; cat /cache/note || echo nothing\n"
    workshop.run(f"FROM BASE\nRUN {mount} ONCE; echo kept >/cache/note\n")
    assert b"kept\n" in workshop.run(reads).stdout
    assert b"nothing\n" in workshop.run(reads, owner=STRANGER).stdout


def test_the_cache_outlives_the_builder(workshop: Workshop, settings: EngineSettings) -> None:
    spec = workshop.spec("FROM BASE\nRUN ONCE; echo working\n")
    workshop.build(spec)
    engine_of(settings).close()
    assert b"working" not in workshop.build(workshop.again(spec)).stdout


def test_room_is_made_by_dropping_every_cache_that_no_build_uses(
    workshop: Workshop, settings: EngineSettings
) -> None:
    spec = workshop.spec("FROM BASE\nRUN ONCE; mkdir -m 0 /x; chown 1234:1234 /x\n")
    workshop.build(spec)
    running = workshop.spec("FROM BASE\nRUN ONCE; echo started; sleep 60\n", owner=STRANGER)
    with closing(workshop.engine.build(running)) as build:
        listen(build, b"started")
        workshop.engine.make_room(1)
        assert (2, "cached") in workshop.build(workshop.again(spec)).states
        workshop.engine.make_room(EVERYTHING)
        assert (2, "started") in workshop.build(workshop.again(spec)).states
        next(build)


def test_two_builds_of_one_owner_run_side_by_side(workshop: Workshop) -> None:
    owner = uuid4()
    specs = [
        workshop.spec(
            f"FROM BASE\nRUN ONCE; sleep 1; echo {n} >/n\nCOPY f /f\n",
            files={"f": str(n)},
            owner=owner,
        )
        for n in range(2)
    ]
    rans: list[Ran] = []
    threads = [
        threading.Thread(target=lambda spec=spec: rans.append(workshop.build(spec)))
        for spec in specs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ran.outcome.digest for ran in rans}) == 2


def test_closing_leaves_no_process_and_no_mount(workshop: Workshop) -> None:
    owner = uuid4()
    spec = workshop.spec(
        "FROM BASE\nRUN ONCE; setsid sleep 61.7 & echo started; sleep 61.8\n",
        network=True,
        owner=owner,
    )
    mounts = Path("/proc/mounts").read_text()
    build = workshop.engine.build(spec)
    listen(build, b"started")
    assert mentioning("sleep\x0061.")
    build.close()
    assert mentioning(str(spec.build_id)) == mentioning("sleep\x0061.") == []
    assert Path("/proc/mounts").read_text() == mounts
    assert workshop.run("FROM BASE\nRUN ONCE\n", owner=owner).outcome.digest


@pytest.mark.parametrize("victim", ["dockerd", "containerd", "docker-buildx"])
def test_a_process_that_is_killed_in_mid_build_interrupts_it_and_the_cache_stays(
    workshop: Workshop, settings: EngineSettings, victim: str
) -> None:
    owner = uuid4()
    workshop.engine.close()  # type: ignore[attr-defined]
    lines = f"FROM BASE\nRUN : {owner}\n"
    spec = workshop.spec(lines + "RUN ONCE; echo started; sleep 60\n", owner=owner)
    build = workshop.engine.build(spec)
    listen(build, b"started")
    for process in Traces(settings.root.parent).of_instance(os.getpid()):
        if process.name == victim:
            os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(BuildInterrupted):
        drive(build)
    again = workshop.run(lines + "RUN ONCE; echo fine\n", owner=owner)
    assert (2, "cached") in again.states
    assert "damaged" not in again.said


def test_a_builder_whose_cache_has_errors_is_replaced_by_one_with_an_empty_cache(
    workshop: Workshop, settings: EngineSettings
) -> None:
    owner = uuid4()
    workshop.run("FROM BASE\nRUN true\n", owner=owner)
    image = settings.root.parent / f"helper/{owner}.img"
    (name,) = [
        path.parent.parent.name
        for path in Path("/sys/block").glob("loop*/loop/backing_file")
        if path.read_text().strip() == str(image)
    ]
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("planted")
    ran = workshop.run("FROM BASE\nRUN true\n", owner=owner)
    assert "The build cache was damaged; it was emptied." in ran.said
    assert (2, "cached") not in ran.states
    assert ran.outcome.digest


ALONE = """
import sys
from pathlib import Path
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from tests.builds.engines.conftest import StepOutput, Workshop
root, engine_root, socket, base = sys.argv[1:]
registry = frozenset({base.partition("/")[0]})
settings = EngineSettings(
    root=Path(root, "engine"),
    engine_root=Path(engine_root),
    helper_socket=Path(socket),
    base_refresh_seconds=86400,
    insecure_registries=registry,
    private_registries=registry,
)
workshop = Workshop(engine=BuildKitEngine(settings), folder=Path(root, "alone"), base=base)
spec = workshop.spec(
    "FROM BASE\\nRUN ONCE; setsid sleep 62.7 & echo started; sleep 62.8\\n", network=True
)
print(spec.build_id, spec.work, flush=True)
for event in workshop.engine.build(spec):
    if isinstance(event, StepOutput) and b"started" in event.data.splitlines():
        print("started", flush=True)
"""


def test_a_build_dies_with_a_slipway_that_is_killed(
    workshop: Workshop, settings: EngineSettings, hidden: Path, base: str
) -> None:
    workshop.run("FROM BASE\nRUN ONCE\n")
    folders = set((settings.root / "builders").iterdir())
    arguments = [str(hidden), str(settings.engine_root), str(settings.helper_socket), base]
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, *arguments], stdout=subprocess.PIPE, text=True
    ) as slipway:
        assert slipway.stdout is not None
        build_id, _ = slipway.stdout.readline().split()
        assert slipway.stdout.readline() == "started\n"
        assert mentioning(build_id)
        until = time.monotonic() + 10
        while not mentioning("sleep\x0062.") and time.monotonic() < until:
            time.sleep(0.01)
        assert mentioning("sleep\x0062.")
        slipway.kill()
    until = time.monotonic() + 20
    while (left := mentioning(build_id) + mentioning("sleep\x0062.")) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == []
    workshop.engine.sweep(frozenset())
    assert set((settings.root / "builders").iterdir()) <= folders


def test_an_image_can_be_pushed_and_has_the_digest_that_was_promised(
    workshop: Workshop, registry: str
) -> None:
    outcome = workshop.run("FROM BASE\nRUN ONCE; echo new >/new\n").outcome
    reference = f"{registry}/owner/app:{uuid4().hex}"
    push(outcome, reference)
    asked = ENGINE_ROOT.command(
        "skopeo",
        *("inspect", "--tls-verify=false", "--format={{.Digest}}", f"docker://{reference}"),
        network=True,
    )
    found = run(asked, deadline=20, env=CLEAN_ENV | {"HOME": "/nonexistent"})
    assert found.stdout.decode().strip() == outcome.digest


def test_a_damaged_output_is_noticed_and_made_again(
    workshop: Workshop, settings: EngineSettings
) -> None:
    owner = uuid4()
    spec = workshop.spec("FROM BASE\nRUN ONCE; echo x >/x\n", owner=owner)
    first = workshop.build(spec)
    (layer,) = layers(first)[-1:]
    assert isinstance(layer, dict)
    name = str(layer["digest"]).removeprefix("sha256:")
    kept = settings.root / f"outputs/{owner}.0/layout/blobs/sha256/{name}"
    kept.chmod(0o600)
    kept.write_bytes(b"\0" * kept.stat().st_size)
    again = workshop.build(workshop.again(spec))
    assert layers(again) == layers(first)
    blob = again.outcome.layout / "blobs/sha256" / name
    assert blob.read_bytes().strip(b"\0")


def test_a_base_that_only_the_builder_sees_is_not_fetched(workshop: Workshop) -> None:
    spec = workshop.spec("FROM BASE\nRUN true\n")
    text = spec.dockerfile.text.replace("RUN true", "COPY --from=alpine:3 /etc /e")
    hidden = replace(spec, dockerfile=replace(spec.dockerfile, text=text))
    with pytest.raises(BuildFailed) as failed:
        workshop.build(hidden)
    assert failed.value.code == "base"
    assert "docker.io/library/alpine:3" in failed.value.text


def test_an_engine_without_its_helper_says_so(
    workshop: Workshop, tuned: Callable[..., BuildKitEngine], tmp_path: Path
) -> None:
    workshop.engine = tuned(helper_socket=tmp_path / "none.sock")
    assert [(p.code, p.fatal) for p in workshop.engine.problems()] == [("helper-missing", True)]
    with pytest.raises(EngineError, match="helper"):
        workshop.run("FROM BASE\nRUN true\n")
