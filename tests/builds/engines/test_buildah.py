"""What the buildah engine does beyond the promises: limits, bases, cache, and death of Slipway."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from builds.engines.base import BuildFailed, EngineBroken, EngineError
from builds.engines.buildah import BuildahEngine
from builds.engines.sandbox.networks import can_have_network
from builds.engines.sandbox.settings import EngineSettings
from builds.process import CLEAN_ENV, run
from tests.builds.engines.conftest import (
    NOTHING,
    OWNER,
    ROOMY,
    STRANGER,
    Ran,
    Yard,
    drive,
    listen,
    push,
)
from tests.builds.test_process import gone
from tests.registry import free_port, running_registry

pytestmark = pytest.mark.engine
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="limits need root")


def mentioning(text: str) -> list[int]:
    """Every process with `text` in its command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def groups_of(build_id: UUID) -> list[Path]:
    return [Path(root) for root, _, _ in os.walk("/sys/fs/cgroup") if root.endswith(str(build_id))]


def fails(yard: Yard, dockerfile: str, *, limits: object = ROOMY) -> BuildFailed:
    assert isinstance(limits, type(ROOMY))
    with pytest.raises(BuildFailed) as failed:
        yard.build(yard.order(dockerfile, limits=limits))
    assert "\n" not in failed.value.text
    return failed.value


@as_root
def test_a_step_that_takes_too_much_memory_is_told_its_limit(yard: Yard) -> None:
    failed = fails(
        yard,
        "FROM BASE\nRUN ONCE; dd if=/dev/zero of=/dev/null bs=400M count=1\n",
        limits=replace(ROOMY, memory_bytes=128 << 20),
    )
    assert failed.code == "memory"
    assert "128 MiB" in failed.text


@as_root
def test_a_step_that_forks_too_much_is_told_its_limit(yard: Yard) -> None:
    failed = fails(
        yard,
        "FROM BASE\nRUN ONCE; for i in $(seq 300); do sleep 20 & done; wait\n",
        limits=replace(ROOMY, pids=120),
    )
    assert failed.code == "step"
    assert "120 processes" in failed.text


@as_root
def test_a_build_has_no_more_processor_than_its_limit(yard: Yard) -> None:
    order = yard.order(
        "FROM BASE\nRUN ONCE; echo started; sleep 60\n", limits=replace(ROOMY, cpus=0.5)
    )
    with closing(yard.engine.build(order)) as build:
        listen(build, b"started")
        quotas = [
            int((folder / "cpu.cfs_quota_us").read_text())
            for folder in groups_of(order.build_id)
            if (folder / "cpu.cfs_quota_us").exists()
        ]
    assert quotas == [50_000]
    assert groups_of(order.build_id) == []


def test_a_step_that_fills_the_disk_is_ended(yard: Yard) -> None:
    began = time.monotonic()
    failed = fails(
        yard,
        "FROM BASE\nRUN ONCE; for i in $(seq 1000); do dd if=/dev/zero of=/big$i bs=1M count=10;"
        " sleep 0.05; done\n",
        limits=replace(ROOMY, disk_bytes=100 << 20),
    )
    assert failed.code == "disk"
    assert "100 MiB" in failed.text
    assert time.monotonic() - began < 20


def test_a_disk_that_is_nearly_full_takes_no_more(
    yard: Yard, tuned: Callable[..., BuildahEngine]
) -> None:
    yard.engine = tuned(reserve_bytes=1 << 60)
    assert fails(yard, "FROM BASE\nRUN true\n").code == "disk"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("FOO bar", "syntax", 'Unknown instruction: "FOO"'),
        ("COPY nope /x", "step", "no such file"),
        ("RUN ONCE <<EOF\nls\nEOF", "syntax", "Here-documents"),
        ("COPY --from=nowhere /a /b", "syntax", "no stage or image"),
        ("RUN ONCE; exit 125", "step", "exit code 125"),
    ],
)
def test_a_mistake_is_named(yard: Yard, line: str, code: str, words: str) -> None:
    failed = fails(yard, f"FROM BASE\n{line}\n")
    assert failed.code == code
    assert words in failed.text


def test_a_rebuild_from_cache_runs_nothing_and_has_another_digest(yard: Yard) -> None:
    order = yard.order("FROM BASE\nRUN ONCE; echo working\n")
    first = yard.build(order)
    again = yard.again(order)
    second = yard.build(again)
    assert b"\nworking" in first.stdout
    assert b"Using cache" in second.stdout
    assert b"\nworking" not in second.stdout
    assert first.outcome.digest != second.outcome.digest
    assert layers(first) == layers(second)


def layers(ran: Ran) -> list[object]:
    blob = ran.outcome.layout / "blobs/sha256" / ran.outcome.digest.removeprefix("sha256:")
    return list(json.loads(blob.read_text())["layers"])


def test_a_large_layer_is_compressed_once_for_an_owner(
    yard: Yard, settings: EngineSettings, registry: str
) -> None:
    owner = uuid4()
    large = "FROM BASE\nRUN head -c 3000000 /dev/urandom >/large\n"
    first = yard.build(yard.order(large, owner=owner))
    kept = list((settings.root / "layers" / str(owner)).iterdir())
    assert [file.stat().st_size > 3_000_000 for file in kept].count(True) == 1

    second = yard.build(yard.order(large + "RUN ONCE; echo more >/more\n", owner=owner))
    assert layers(second)[:-1] == layers(first)
    assert sum(file.stat().st_nlink > 1 for file in kept) == len(kept)
    reference = f"{registry}/owner/large:{uuid4().hex}"
    push(second.outcome, reference)
    copy = yard.order(f"FROM {reference}\nRUN ONCE; wc -c </large; cat /more\n",
                      bases=(reference,), owner=STRANGER)  # fmt: skip
    assert b"\n3000000\nmore\n" in yard.build(copy).stdout
    yard.engine.make_room(EVERYTHING)
    assert not kept[0].exists()


def test_nobody_gets_another_owners_cache(yard: Yard) -> None:
    order = yard.order("FROM BASE\nRUN ONCE; echo working\n")
    yard.build(order)
    theirs = yard.order(order.dockerfile.text, owner=STRANGER, bases=(yard.base,))
    assert b"\nworking" in yard.build(theirs).stdout


def test_a_cache_mount_lasts_from_build_to_build(yard: Yard) -> None:
    mount = "--mount=type=cache,target=/cache"
    yard.build(yard.order(f"FROM BASE\nRUN {mount} ONCE; echo kept >/cache/note\n"))
    assert (
        b"\nkept"
        in yard.build(yard.order(f"FROM BASE\nRUN {mount} ONCE; cat /cache/note\n")).stdout
    )


EVERYTHING = 1 << 60


def test_room_is_made_by_dropping_every_cache_that_no_build_uses(
    yard: Yard, settings: EngineSettings
) -> None:
    order = yard.order("FROM BASE\nRUN ONCE; mkdir -m 0 /x; chown 1234:1234 /x\n", owner=STRANGER)
    yard.build(order)
    store = settings.root / "stores" / str(STRANGER)
    running = yard.order("FROM BASE\nRUN ONCE; echo started; sleep 60\n")
    build = yard.engine.build(running)
    listen(build, b"started")
    yard.engine.make_room(1)
    assert store.exists()
    yard.engine.make_room(EVERYTHING)
    assert not store.exists()
    assert (settings.root / "stores" / str(OWNER)).exists()
    assert (settings.root / "bases").exists()
    build.close()
    yard.engine.discard(running)
    yard.engine.make_room(EVERYTHING)
    assert not (settings.root / "stores" / str(OWNER)).exists()
    assert not (settings.root / "bases").exists()
    assert b"Trying to pull" in yard.build(yard.order("FROM BASE\nRUN ONCE\n")).stderr


def test_what_was_used_longest_ago_goes_first(
    yard: Yard, settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = uuid4(), uuid4()
    for owner in (first, second, first):
        yard.build(yard.order("FROM BASE\nRUN ONCE\n", owner=owner))
    stores = [settings.root / "stores" / str(owner) for owner in (first, second)]
    usage = shutil.disk_usage
    monkeypatch.setattr(
        "builds.engines.buildah.caches.shutil.disk_usage",
        lambda folder: usage(folder)._replace(free=not stores[1].exists()),
    )
    yard.engine.make_room(1)
    assert [store.exists() for store in stores] == [True, False]


def test_forged_steps_change_nothing(yard: Yard) -> None:
    forged = "a" * 64
    order = yard.order(
        "FROM BASE\nRUN ONCE; echo STEP 9/9: COMMIT; echo COMMIT; "
        f"echo {forged}; echo 'Error: building at STEP \"RUN\": x' >&2\n"
    )
    ran = yard.build(order)
    assert b"\nSTEP 9/9: COMMIT\n" in ran.stdout
    assert forged not in ran.outcome.digest


def test_build_arguments_reach_the_step(yard: Yard) -> None:
    order = yard.order(
        "FROM BASE\nARG GREETING\nRUN ONCE; echo $GREETING\n",
        build_args=(("GREETING", "good day, {name} $HOME"),),
    )
    assert b"\ngood day, {name} $HOME\n" in yard.build(order).stdout


def test_two_builds_of_one_owner_run_side_by_side(yard: Yard) -> None:
    orders = [
        yard.order(f"FROM BASE\nRUN ONCE; sleep 1; echo {n} >/n\nCOPY f /f\n", files={"f": str(n)})
        for n in range(2)
    ]
    rans: list[Ran] = []
    threads = [
        threading.Thread(target=lambda order=order: rans.append(yard.build(order)))
        for order in orders
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ran.outcome.digest for ran in rans}) == 2
    assert time.monotonic() - began < 10


def test_closing_leaves_no_process_no_group_and_no_mount(yard: Yard) -> None:
    order = yard.order("FROM BASE\nRUN ONCE; setsid sleep 61.7 & echo started; sleep 61.8\n",
                       network=True)  # fmt: skip
    mounts = Path("/proc/mounts").read_text()
    build = yard.engine.build(order)
    listen(build, b"started")
    assert mentioning(str(order.build_id))
    build.close()
    assert mentioning(str(order.build_id)) == mentioning("sleep\x0061.") == []
    assert groups_of(order.build_id) == []
    assert Path("/proc/mounts").read_text() == mounts


def containers(settings: EngineSettings, owner: UUID) -> int:
    listing = settings.root / "stores" / str(owner) / "store/overlay-containers/containers.json"
    return len(json.loads(listing.read_text() or "[]") or [])


def test_a_killed_build_leaves_nothing_in_the_store(yard: Yard, settings: EngineSettings) -> None:
    owner = uuid4()
    other = yard.order("FROM BASE\nRUN ONCE; echo started; sleep 60\n", owner=owner)
    running = yard.engine.build(other)
    listen(running, b"started")
    order = yard.order("FROM BASE\nRUN ONCE; echo started; sleep 60\n", owner=owner)
    build = yard.engine.build(order)
    listen(build, b"started")
    build.close()
    yard.engine.discard(order)
    assert containers(settings, owner) == 2  # not while another build works there
    running.close()
    assert containers(settings, owner) == 2
    yard.engine.discard(other)
    assert containers(settings, owner) == 0
    yard.build(yard.order("FROM BASE\nRUN ONCE\n", owner=owner))


def test_a_store_that_a_crash_may_have_spoilt_is_not_used(
    yard: Yard, settings: EngineSettings
) -> None:
    owner = uuid4()
    order = yard.order("FROM BASE\nRUN ONCE; echo working\n", owner=owner)
    yard.build(order)
    (mark,) = (settings.root / "unsynced" / str(owner)).iterdir()
    mark.write_text("an earlier boot of this machine")
    again = yard.again(order)
    assert b"\nworking" in yard.build(again).stdout
    yard.engine.discard(order)
    yard.engine.discard(again)
    assert not list((settings.root / "unsynced" / str(owner)).iterdir())
    assert b"\nworking" not in yard.build(yard.again(order)).stdout


ALONE = """
import sys
from pathlib import Path
from uuid import UUID
from builds.engines.buildah import BuildahEngine
from builds.engines.sandbox.settings import EngineSettings
from tests.builds.engines.conftest import Yard
root, user, base, network = sys.argv[1:]
settings = EngineSettings(
    root=Path(root, "engine"),
    build_user=user,
    base_refresh_seconds=86400,
    insecure_registries=frozenset({base.partition("/")[0]}),
)
yard = Yard(engine=BuildahEngine(settings), folder=Path(root, "alone"), base=base)
order = yard.order(
    "FROM BASE\\nRUN ONCE; setsid sleep 62.7 & echo started; sleep 62.8\\n",
    network=network == "network",
)
print(order.build_id, order.work, flush=True)
for _, data in yard.engine.build(order):
    if b"started" in data.splitlines():
        print("started", flush=True)
"""


@pytest.mark.parametrize("network", ["network", "alone"])
def test_a_build_dies_with_a_slipway_that_is_killed(
    yard: Yard, hidden: Path, build_user: str, base: str, network: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, str(hidden), build_user, base, network],
        stdout=subprocess.PIPE,
        text=True,
    ) as slipway:
        assert slipway.stdout is not None
        build_id, work = slipway.stdout.readline().split()
        assert slipway.stdout.readline() == "started\n"
        inside = mentioning(build_id) + mentioning("sleep\x0062.")
        fed = network == "network" and can_have_network(os.geteuid())
        helpers = [helper for pid in inside for helper in mentioning(f"\0{pid}\0tap0")]
        assert inside
        assert len(helpers) == fed
        slipway.kill()
    until = time.monotonic() + 5
    while (left := mentioning(build_id) + mentioning("sleep\x0062.")) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == []
    assert all(gone(helper) for helper in helpers)

    assert Path(work).exists()
    yard.engine.sweep(frozenset())
    assert not Path(work).exists()
    assert groups_of(UUID(build_id)) == []


def test_sweeping_ends_what_still_runs(yard: Yard, settings: EngineSettings) -> None:
    order = yard.order("FROM BASE\nRUN ONCE; echo started; sleep 63.7\n")
    build = yard.engine.build(order)
    listen(build, b"started")
    BuildahEngine(settings).sweep(frozenset())
    assert mentioning("sleep\x0063.7") == []
    assert not order.work.exists()
    with pytest.raises(EngineError):
        drive(build)


@pytest.fixture
def other_registry(tmp_path: Path) -> Iterator[str]:
    with running_registry(tmp_path) as address:
        yield address


def test_a_base_is_asked_for_once_and_survives_its_registry(
    yard: Yard, tuned: Callable[..., BuildahEngine], tmp_path: Path
) -> None:
    (tmp_path / "r").mkdir()
    outcome = yard.build(yard.order("FROM BASE\nRUN true\n")).outcome
    with running_registry(tmp_path / "r") as address:
        yard.engine = tuned(insecure_registries=frozenset({address}))
        yard.base = f"{address}/team/base:1"
        push(outcome, yard.base)
        first = yard.build(yard.order("FROM BASE\nRUN ONCE\n"))
        assert b"Trying to pull" in first.stderr
        second = yard.build(yard.order("FROM BASE\nRUN ONCE\n"))
        assert b"Trying to pull" not in second.stderr
    yard.engine = tuned(insecure_registries=frozenset({address}), base_refresh_seconds=0)
    third = yard.build(yard.order("FROM BASE\nRUN ONCE\n"))
    assert b"Using the copy of" in third.stderr


def test_a_mirror_is_asked_instead(
    yard: Yard, tuned: Callable[..., BuildahEngine], registry: str
) -> None:
    yard.engine = tuned(
        mirrors=(("images.invalid", registry),), insecure_registries=frozenset({registry})
    )
    order = yard.order("FROM images.invalid/base/busybox\nRUN ONCE; echo here\n",
                       bases=("images.invalid/base/busybox:latest",))  # fmt: skip
    assert b"\nhere" in yard.build(order).stdout


def test_a_short_name_is_found_under_its_full_one(
    yard: Yard, tuned: Callable[..., BuildahEngine], registry: str
) -> None:
    yard.engine = tuned(
        mirrors=(("docker.io/library", f"{registry}/base"),),
        insecure_registries=frozenset({registry}),
    )
    order = yard.order("FROM busybox\nRUN ONCE; echo here\n",
                       bases=("docker.io/library/busybox:latest",))  # fmt: skip
    assert b"\nhere" in yard.build(order).stdout


def test_a_base_that_does_not_exist_is_named(yard: Yard, registry: str) -> None:
    reference = f"{registry}/no/such:1"
    with pytest.raises(BuildFailed) as failed:
        yard.build(yard.order(f"FROM {reference}\n", bases=(reference,)))
    assert failed.value.code == "base"
    assert reference in failed.value.text


def test_a_base_on_a_private_network_is_refused_unless_trusted(
    yard: Yard, tuned: Callable[..., BuildahEngine]
) -> None:
    reference = f"127.0.0.1:{free_port()}/app:1"
    order = yard.order(f"FROM {reference}\n", bases=(reference,))
    with pytest.raises(BuildFailed, match="private network"):
        yard.build(order)
    yard.engine = tuned(trusted_registries=frozenset({reference.partition("/")[0]}))
    with pytest.raises(BuildFailed, match="could not be pulled"):
        yard.build(yard.order(f"FROM {reference}\n", bases=(reference,)))


def test_a_wall_that_does_not_stand_is_a_fatal_problem(
    tuned: Callable[..., BuildahEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tuned()
    monkeypatch.setitem(engine._wall._scripts, "room", "echo no such thing >&2; exit 1")
    (problem,) = engine.problems()
    assert (problem.code, problem.fatal) == ("wall-refused", True)
    assert "no such thing" in problem.text


@as_root
def test_builds_run_without_network_where_it_cannot_be_had(
    yard: Yard, tuned: Callable[..., BuildahEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tuned()
    inner = engine._wall._scripts["inner"]
    monkeypatch.setitem(engine._wall._scripts, "inner", inner.replace("tap0", "--nonsense"))
    monkeypatch.setitem(
        engine._wall._scripts, "room", engine._wall._scripts["room"].replace("-t 10", "-t 1")
    )
    assert [(p.code, p.fatal) for p in engine.problems()] == [("network-refused", False)]
    yard.engine = engine
    ran = yard.build(yard.order("FROM BASE\nRUN ONCE; echo built\n", network=True))
    assert b"This machine gives builds no network." in ran.stderr
    assert b"\nbuilt" in ran.stdout


@as_root
def test_a_user_that_does_not_exist_is_a_fatal_problem(
    yard: Yard, tuned: Callable[..., BuildahEngine]
) -> None:
    engine = tuned(build_user="nobody-of-that-name")
    assert [p.code for p in engine.problems() if p.fatal] == ["build-user-missing"]
    yard.engine = engine
    with pytest.raises(EngineBroken, match="nobody-of-that-name"):
        drive(engine.build(replace(yard.order("FROM BASE\n"), owner_id=OWNER)), Ran(NOTHING))
    yard.engine = tuned()


def test_an_image_can_be_pushed_and_has_the_digest_that_was_promised(
    yard: Yard, registry: str
) -> None:
    outcome = yard.build(yard.order("FROM BASE\nRUN ONCE; echo new >/new\n")).outcome
    reference = f"{registry}/owner/app:{uuid4().hex}"
    push(outcome, reference)
    asked = run(
        [
            "skopeo",
            "inspect",
            "--tls-verify=false",
            "--format={{.Digest}}",
            f"docker://{reference}",
        ],
        deadline=20,
        env=CLEAN_ENV | {"HOME": "/nonexistent"},
    )
    assert asked.stdout.decode().strip() == outcome.digest


def test_a_base_of_the_owners_own_is_kept_apart_and_pulled_when_its_digest_is_new(
    yard: Yard, tuned: Callable[..., BuildahEngine], settings: EngineSettings, tmp_path: Path
) -> None:
    owner = uuid4()
    outcome = yard.build(yard.order("FROM BASE\nRUN true\n")).outcome
    with running_registry(tmp_path) as address:
        yard.engine = tuned(
            insecure_registries=frozenset({address}), auth_file=tmp_path / "never-read.json"
        )
        own = f"{address}/team/own:1"
        push(outcome, own)

        def build(digest: str, who: UUID = owner) -> Ran:
            order = yard.order(f"FROM {own}\nRUN ONCE; echo here\n", owner=who, bases=(own,))
            [base] = order.dockerfile.bases
            marked = replace(base, digest=digest, private=True)
            return yard.build(replace(order, dockerfile=replace(order.dockerfile, bases=(marked,))))

        assert b"Trying to pull" in build(outcome.digest).stderr
        again = build(outcome.digest)
        assert b"Trying to pull" not in again.stderr
        assert b"\nhere" in again.stdout
        assert b"Trying to pull" in build("sha256:of another push").stderr
        assert b"Trying to pull" in build(outcome.digest, STRANGER).stderr
    with pytest.raises(BuildFailed, match="could not be pulled"):
        build("sha256:of what is not there any more")
    shared = settings.root / "bases/overlay-images/images.json"
    assert own not in shared.read_text()
    assert own in (settings.root / f"owned-bases/{owner}/overlay-images/images.json").read_text()
    yard.engine.make_room(EVERYTHING)
    assert not (settings.root / f"owned-bases/{owner}").exists()
