"""Builders start, build, keep their caches, and leave nothing behind however they end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builds.engines.sandbox.helper import HelperError
from tests.helper.conftest import Base, needs_root
from tests.helper.running import (
    CHECKOUT,
    OWNER,
    STRANGER,
    RunningHelper,
    leftovers,
    loop_files,
    running_builder,
    running_helper,
    session,
    wait_for,
)

pytestmark = [pytest.mark.engine, needs_root]
LONG_RUN = "RUN echo be''gun; sleep 1000\n"


def test_an_image_is_built_and_its_cache_is_kept(
    any_helper: RunningHelper, tmp_path: Path, base: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    dockerfile = f"{base.dockerfile}RUN echo printed by RUN\n"
    began = time.monotonic()
    with running_builder(any_helper, tmp_path / "worker") as builder:
        with capsys.disabled():
            sys.stdout.write(f" [builder up after {time.monotonic() - began:.2f} s] ")
        assert builder.handle.cache == "new"
        first = builder.build(dockerfile, context=base.context)
        assert first.succeeded, first.output
        assert "printed by RUN" in first.output
        assert (builder.folder / "output/index.json").is_file()
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert builder.handle.cache == "kept"
        second = builder.build(dockerfile, context=base.context)
        assert second.succeeded, second.output
        assert second.output.count("CACHED") == 3


def test_nothing_is_left_when_the_builder_is_closed_in_the_middle_of_a_run(
    any_helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    with running_builder(any_helper, tmp_path / "worker") as builder:
        build = builder.build(base.dockerfile + LONG_RUN, context=base.context, wait=False)
        build.read_until("begun")
        wait_for(lambda: "sleep" in processes_below(builder.handle.pid), "RUN's process")
        assert any_of_it(any_helper.data_dir, builder.handle.pid)
    assert leftovers(any_helper.data_dir, builder.handle.pid) == []
    build.wait()
    assert not build.succeeded


def test_nothing_is_left_when_the_worker_is_killed(
    any_helper: RunningHelper, tmp_path: Path
) -> None:
    worker = start_worker(any_helper, tmp_path)
    leader = int(worker.stdout.readline())  # type: ignore[union-attr]
    assert any_of_it(any_helper.data_dir, leader)
    worker.kill()
    worker.communicate()
    wait_for(lambda: not leftovers(any_helper.data_dir, leader), "the builder's end")
    wait_for(lambda: not any_helper.client.caches()[0].in_use, "the cache's end")


def test_nothing_is_left_when_the_helper_is_killed_and_the_next_one_goes_on(
    tmp_path: Path, base: Base
) -> None:
    with running_helper(tmp_path / "data") as first:
        with running_builder(first, tmp_path / "worker") as builder:
            leader = builder.handle.pid
            assert builder.build(base.dockerfile, context=base.context).succeeded
            first.process.kill()
            first.process.wait()
            wait_for(lambda: not session(leader), "the end of the processes")
            with pytest.raises(HelperError) as caught:
                builder.handle.usage()
        assert caught.value.code == "unreachable"
    with running_helper(tmp_path / "data") as second:
        assert leftovers(second.data_dir, leader) == []
        with running_builder(second, tmp_path / "worker") as builder:
            assert builder.handle.cache == "kept"
            assert builder.build(base.dockerfile, context=base.context).succeeded


@pytest.mark.parametrize("victim", ["dockerd", "containerd", "slirp4netns"])
def test_nothing_is_left_when_a_daemon_is_killed(
    helper: RunningHelper, tmp_path: Path, victim: str
) -> None:
    if victim == "slirp4netns" and not helper.client.info().network:
        pytest.skip("no network on this machine")
    with running_builder(helper, tmp_path / "worker", network=victim == "slirp4netns") as builder:
        os.kill(builder.processes()[victim], signal.SIGKILL)
        if victim == "slirp4netns":
            assert not builder.handle.has_ended()  # builds without a need for it go on
            return
        wait_for(builder.handle.has_ended, "the sandbox's end")
        assert leftovers(helper.data_dir, builder.handle.pid) == []
        with pytest.raises(HelperError):
            builder.handle.usage()


def test_everything_ends_with_the_process_that_started_the_helper(
    any_helper: RunningHelper, tmp_path: Path
) -> None:
    with running_builder(any_helper, tmp_path / "worker") as builder:
        os.close(any_helper.lifeline)
        assert any_helper.process.wait(30) == 0
        assert leftovers(any_helper.data_dir, builder.handle.pid) == []
        assert not any_helper.socket.exists()


def test_everything_ends_on_sigterm_where_the_helper_is_a_service(tmp_path: Path) -> None:
    with (
        running_helper(tmp_path / "data", tied=False) as helper,
        running_builder(helper, tmp_path / "worker") as builder,
    ):
        helper.process.terminate()
        assert helper.process.wait(30) == 0
        assert leftovers(helper.data_dir, builder.handle.pid) == []


def test_a_sigterm_to_all_processes_of_slipway_leaves_the_end_to_whoever_started_the_helper(
    helper: RunningHelper, tmp_path: Path
) -> None:
    with running_builder(helper, tmp_path / "worker") as builder:
        helper.process.terminate()
        assert builder.handle.usage().memory_bytes >= 0
        assert helper.process.poll() is None


def test_clients_that_go_at_once_leave_nothing(helper: RunningHelper, tmp_path: Path) -> None:
    request = {
        "op": "builder",
        "owner": str(OWNER),
        "network": False,
        "limits": {"memory_bytes": 1 << 30, "pids": 100, "cpus": 1},
        "cache_bytes": 1 << 30,
    }
    files = len(os.listdir(f"/proc/{helper.process.pid}/fd"))  # noqa: PTH208
    with socket.socket(socket.AF_UNIX) as listener, (tmp_path / "log").open("wb") as log:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        for number in range(20):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
                end.connect(str(helper.socket))
                message = json.dumps({**request, "slot": number % 8}).encode()
                socket.send_fds(end, [message], [listener.fileno(), log.fileno()])
                time.sleep(0.01 * number)
    wait_for(lambda: not any(cache.in_use for cache in helper.client.caches()), "their end")
    assert [file for file in loop_files() if str(helper.data_dir) in file] == []
    assert children(helper.process.pid) <= 8  # caches being written out
    wait_for(lambda: children(helper.process.pid) == 0, "the caches to be written out")
    assert len(os.listdir(f"/proc/{helper.process.pid}/fd")) <= files + 1  # noqa: PTH208


def test_a_cache_has_one_builder_at_a_time(any_helper: RunningHelper, tmp_path: Path) -> None:
    with running_builder(any_helper, tmp_path / "worker"):
        with pytest.raises(HelperError) as caught, running_builder(any_helper, tmp_path / "two"):
            pass
        assert caught.value.code == "in-use"
        with running_builder(any_helper, tmp_path / "two", slot=1) as beside:
            assert beside.handle.cache == "new"
        with running_builder(any_helper, tmp_path / "two", owner=STRANGER) as beside:
            assert beside.handle.cache == "new"
        assert len(any_helper.client.caches()) == 3
        any_helper.client.drop(OWNER)  # the one that no builder uses
        with pytest.raises(HelperError) as caught:
            any_helper.client.drop(OWNER)
        assert caught.value.code == "in-use"
    assert sorted(cache.owner for cache in any_helper.client.caches()) == [OWNER, STRANGER]


def test_a_dropped_cache_is_gone(any_helper: RunningHelper, tmp_path: Path, base: Base) -> None:
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert builder.build(base.dockerfile, context=base.context).succeeded
    (cache,) = any_helper.client.caches()
    assert not cache.in_use
    assert cache.bytes is None or 1 << 20 < cache.bytes < 1 << 28
    any_helper.client.drop(OWNER)
    assert any_helper.client.caches() == []
    assert {path.name for path in any_helper.caches.iterdir()} <= {"ids.json", "lock"}
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert builder.handle.cache == "new"


def start_worker(helper: RunningHelper, tmp_path: Path) -> "subprocess.Popen[bytes]":
    """A worker in a process of its own; it prints the builder's pid."""
    code = (
        "import sys, time; from pathlib import Path; from tests.helper.running import *\n"
        "from types import SimpleNamespace\n"
        "helper = SimpleNamespace(client=Helper(Path(sys.argv[1])))\n"
        "with running_builder(helper, Path(sys.argv[2])) as builder:\n"
        "    print(builder.handle.pid, flush=True); time.sleep(1000)\n"
    )
    argv = [sys.executable, "-c", code, str(helper.socket), str(tmp_path / "worker")]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=CHECKOUT)


def children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def processes_below(leader: int) -> set[str]:
    """Names of all descendants, those that left the session too."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        pid = int(path.parent.name)
        names[pid] = text.partition("(")[2].rpartition(")")[0]
        parents[pid] = int(text.rpartition(")")[2].split()[1])
    found = {leader}
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return {names[pid] for pid in found if pid in names}


def any_of_it(data_dir: Path, leader: int) -> bool:
    """The control: `leftovers` sees a builder that runs."""
    return bool(leftovers(data_dir, leader))
