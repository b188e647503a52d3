"""Control groups of both generations: v1 for real, v2 on plain folders and beside v1."""

import os
import subprocess
from pathlib import Path

import pytest

from helper.control_groups import (
    ControlGroup,
    Hierarchy,
    Usage,
    find_hierarchies,
    left_groups,
    remove_installation,
)
from helper.protocol import Limits
from tests.helper.conftest import needs_root
from tests.helper.running import wait_for

LIMITS = Limits(memory_bytes=1 << 30, pids=500, cpus=1.5)


def machine(
    tmp_path: Path, mounts: list[tuple[Path, str, str, str]], own: str
) -> tuple[Path, Path]:
    mountinfo, membership = tmp_path / "mountinfo", tmp_path / "membership"
    mountinfo.write_text(
        "".join(
            f"30 20 0:1 {root} {folder} rw shared:1 - {kind} {kind} rw,{options}\n"
            for folder, root, kind, options in mounts
        )
    )
    membership.write_text(own)
    return mountinfo, membership


def unified(folder: Path, *, controllers: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text("")
    return folder


def test_each_controller_of_the_old_generation_has_its_folder(tmp_path: Path) -> None:
    for name in ("memory", "cpu"):
        (tmp_path / name / "here").mkdir(parents=True)
    files = machine(
        tmp_path,
        [
            (tmp_path / "memory", "/", "cgroup", "memory"),
            (tmp_path / "cpu", "/", "cgroup", "cpu,cpuacct"),
        ],
        "2:cpu,cpuacct:/here\n1:memory:/here\n0::/\n",
    )
    found = find_hierarchies(*files)
    assert {h.base for h in found} == {tmp_path / "memory/here", tmp_path / "cpu/here"}
    group = ControlGroup(name="slipway-x/1", hierarchies=found)
    group.create()
    memory, cpu = (tmp_path / name / "here/slipway-x/1" for name in ("memory", "cpu"))
    (memory / "memory.memsw.limit_in_bytes").write_text("")
    group.set_limits(LIMITS)
    assert (memory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(1 << 30)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"


def test_a_mount_that_shows_a_part_is_entered_below_that_part(tmp_path: Path) -> None:
    (tmp_path / "pids/mine").mkdir(parents=True)
    files = machine(
        tmp_path,
        [(tmp_path / "pids", "/docker/abc", "cgroup", "pids")],
        "1:pids:/docker/abc/mine\n",
    )
    assert [h.base for h in find_hierarchies(*files)] == [tmp_path / "pids/mine"]


def test_the_new_generation_has_one_folder_for_all(tmp_path: Path) -> None:
    top = unified(tmp_path / "top", controllers="cpu io memory pids")
    files = machine(tmp_path, [(top, "/", "cgroup2", "nsdelegate")], "0::/\n")
    (found,) = find_hierarchies(*files)
    assert (found.base, found.unified) == (top, True)
    assert (top / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    unified(top / "slipway-x", controllers="cpu memory pids")
    group = ControlGroup(name="slipway-x/1", hierarchies=(found,))
    group.create()
    folder = top / "slipway-x/1"
    assert (top / "slipway-x/cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    (folder / "memory.swap.max").write_text("max")
    group.set_limits(LIMITS)
    assert (folder / "memory.max").read_text() == str(1 << 30)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "pids.max").read_text() == "500"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert group.usage() == Usage()
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    (folder / "memory.current").write_text("4096\n")
    (folder / "pids.events").write_text("max 3\n")
    assert group.usage() == Usage(oom_kill=2, pids_max=3, memory_bytes=4096)


def test_a_group_that_holds_processes_hands_nothing_down(tmp_path: Path) -> None:
    """The kernel refuses it; the next one above that can is taken."""
    top = unified(tmp_path / "top", controllers="memory pids")
    own = unified(top / "service", controllers="memory pids")
    (own / "cgroup.subtree_control").unlink()
    (own / "cgroup.subtree_control").mkdir()  # cannot be written
    files = machine(tmp_path, [(top, "/", "cgroup2", "rw")], "0::/service\n")
    (found,) = find_hierarchies(*files)
    assert found.base == top
    assert found.controllers == {"memory", "pids"}


@needs_root
@pytest.mark.parametrize("unified_mount", [False, True])
def test_processes_in_a_group_are_found_killed_and_the_group_removed(unified_mount: bool) -> None:
    if unified_mount:
        base = next(
            (
                Path(line.split()[1])
                for line in Path("/proc/mounts").read_text().splitlines()
                if line.split()[2] == "cgroup2" and os.access(line.split()[1], os.W_OK)
            ),
            None,
        )
        if base is None:
            pytest.skip("no cgroup2 mount")
        # Without controllers where the old generation has them.
        found: tuple[Hierarchy, ...] = (
            Hierarchy(base=base, controllers=frozenset(), unified=True),
        )
    else:
        found = find_hierarchies()
        if not found:
            pytest.skip("no control groups")
    installation = f"slipway-test-{os.getpid()}"
    group = ControlGroup(name=f"{installation}/1", hierarchies=found)
    group.create()
    with subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"]) as process:
        for folder in group.folders:
            (folder / "cgroup.procs").write_text(str(process.pid))
        assert process.pid in group.pids()
        assert not group.remove()
        assert [left.name for left in left_groups(installation, found)] == [group.name]
        group.kill()
        assert process.wait(10) == -9
    wait_for(lambda: not group.pids(), "the processes' end")
    wait_for(group.remove, "the group's end")
    assert left_groups(installation, found) == []
    remove_installation(installation, found)
    assert not any((hierarchy.base / installation).exists() for hierarchy in found)
