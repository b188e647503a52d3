"""Control groups of both generations, tried on plain folders: what is written, and where."""

from pathlib import Path

from builds.build_spec import Limits
from builds.engines.sandbox.limits import ControlGroup, Hierarchy, hierarchies, unheld

LIMITS = Limits(memory_bytes=1 << 30, pids=500, cpus=1.5, disk_bytes=0)


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


def unified(folder: Path, *, controllers: str, handed_down: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(handed_down)
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
    found = hierarchies(*files)
    assert {h.base for h in found} == {tmp_path / "memory/here", tmp_path / "cpu/here"}
    assert unheld(found) == ["pids"]

    group = ControlGroup(name="slipway-x/build", hierarchies=found)
    group.create(LIMITS)
    memory, cpu = (tmp_path / name / "here/slipway-x/build" for name in ("memory", "cpu"))
    assert (memory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"


def test_a_mount_that_shows_a_part_is_entered_below_that_part(tmp_path: Path) -> None:
    (tmp_path / "pids/mine").mkdir(parents=True)
    files = machine(
        tmp_path,
        [(tmp_path / "pids", "/docker/abc", "cgroup", "pids")],
        "1:pids:/docker/abc/mine\n",
    )
    assert [h.base for h in hierarchies(*files)] == [tmp_path / "pids/mine"]


def test_the_new_generation_has_one_folder_for_all(tmp_path: Path) -> None:
    top = unified(tmp_path / "top", controllers="cpu io memory pids")
    files = machine(tmp_path, [(top, "/", "cgroup2", "nsdelegate")], "0::/\n")
    (found,) = hierarchies(*files)
    assert (found.base, found.unified) == (top, True)
    assert unheld((found,)) == []
    assert (top / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"

    group = ControlGroup(name="slipway-x/build", hierarchies=(found,))
    group.create(LIMITS)
    folder = top / "slipway-x/build"
    assert (folder / "memory.max").read_text() == str(1 << 30)
    assert (folder / "pids.max").read_text() == "500"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert group.hit() is None
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert group.hit() == "memory"


def test_a_group_that_cannot_hand_down_is_left_for_the_one_above(tmp_path: Path) -> None:
    top = unified(tmp_path / "top", controllers="cpu memory pids", handed_down="cpu memory pids")
    service = unified(top / "service", controllers="cpu memory pids")
    (service / "cgroup.subtree_control").unlink()
    (service / "cgroup.subtree_control").mkdir()  # as the kernel does: it cannot be written
    files = machine(tmp_path, [(top, "/", "cgroup2", "rw")], "0::/service\n")
    (found,) = hierarchies(*files)
    assert found.base == top


def test_a_machine_without_groups_holds_nothing(tmp_path: Path) -> None:
    files = machine(tmp_path, [], "0::/\n")
    assert unheld(hierarchies(*files)) == ["memory", "pids", "cpu"]


def test_pids_are_told_apart_from_memory(tmp_path: Path) -> None:
    base = Hierarchy(base=tmp_path, controllers=frozenset({"pids", "memory"}), unified=False)
    group = ControlGroup(name="i/b", hierarchies=(base,))
    (tmp_path / "i/b").mkdir(parents=True)
    (tmp_path / "i/b/pids.events").write_text("max 3\n")
    assert group.hit() == "pids"
