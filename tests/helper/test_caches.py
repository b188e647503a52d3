"""A cache that cannot be trusted is made again; one that can is kept."""

import json
import os
import signal
from pathlib import Path

import pytest

from builds.engines.sandbox.helper import HelperError
from helper import commands, images
from helper.boot_marks import BootMark
from helper.images import Image, Mkfs
from tests.helper.conftest import needs_root
from tests.helper.running import (
    CACHE_BYTES,
    ENGINE_ROOT,
    OWNER,
    STRANGER,
    RunningHelper,
    loop_files,
    running_builder,
    running_helper,
    wait_for,
)

pytestmark = [pytest.mark.engine, needs_root]
ANOTHER_BOOT = "00000000-0000-0000-0000-000000000000\n"


def use(helper: RunningHelper, tmp_path: Path, *, cache_bytes: int = CACHE_BYTES) -> str:
    """Run a builder once; return what became of its cache."""
    with running_builder(helper, tmp_path / "worker", cache_bytes=cache_bytes) as builder:
        return builder.handle.cache


def wait_until_written_out(helper: RunningHelper) -> None:
    mark = helper.caches / f"{OWNER}.boot"
    wait_for(lambda: not mark.exists(), "the cache to be written out")


def overwrite(image: Path, at: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_an_image_that_is_no_file_system_is_made_anew(
    helper: RunningHelper, tmp_path: Path
) -> None:
    image = helper.caches / f"{OWNER}.img"
    assert use(helper, tmp_path) == "new"
    assert use(helper, tmp_path) == "kept"
    wait_until_written_out(helper)
    overwrite(image, 0, bytes(1 << 20))
    assert use(helper, tmp_path) == "recreated"
    assert use(helper, tmp_path) == "kept"


def test_an_image_with_recorded_errors_is_made_anew(helper: RunningHelper, tmp_path: Path) -> None:
    use(helper, tmp_path)
    wait_until_written_out(helper)
    state_at = images.SUPERBLOCK_AT + images.STATE_AT
    overwrite(helper.caches / f"{OWNER}.img", state_at, bytes([images.VALID | images.ERRORS, 0]))
    assert use(helper, tmp_path) == "recreated"


def test_errors_that_the_kernel_finds_are_told_while_the_image_is_mounted(
    helper: RunningHelper, tmp_path: Path
) -> None:
    use(helper, tmp_path)
    wait_until_written_out(helper)
    image = helper.caches / f"{OWNER}.img"
    with running_builder(helper, tmp_path / "worker") as builder:
        assert builder.handle.usage().disk_damaged is False
        (name,) = [
            path.parent.parent.name
            for path in Path("/sys/block").glob("loop*/loop/backing_file")
            if path.read_text().strip() == str(image)
        ]
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("planted")
        assert builder.handle.usage().disk_damaged is True
        os.kill(builder.processes()["dockerd"], signal.SIGKILL)
        wait_for(builder.handle.has_ended, "the sandbox's end")
        assert builder.handle.last_usage is not None
        assert builder.handle.last_usage.disk_damaged is True
    assert use(helper, tmp_path) == "recreated"


def test_an_image_that_cannot_be_mounted_is_made_anew(
    helper: RunningHelper, tmp_path: Path
) -> None:
    use(helper, tmp_path)
    wait_until_written_out(helper)
    incompatible_at = images.SUPERBLOCK_AT + 0x60
    overwrite(helper.caches / f"{OWNER}.img", incompatible_at, b"\xff\xff\xff\xff")
    assert use(helper, tmp_path) == "recreated"
    assert [file for file in loop_files() if str(helper.data_dir) in file] == []


def test_a_limit_that_has_changed_makes_a_new_image(helper: RunningHelper, tmp_path: Path) -> None:
    use(helper, tmp_path)
    assert use(helper, tmp_path, cache_bytes=2 * CACHE_BYTES) == "recreated"
    assert (helper.caches / f"{OWNER}.img").stat().st_size == 2 * CACHE_BYTES


def test_a_cache_that_was_in_use_when_the_machine_went_down_is_made_anew(
    any_helper: RunningHelper, tmp_path: Path
) -> None:
    mark = any_helper.caches / f"{OWNER}.boot"
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert mark.exists()
        builder.inside("touch", "/b/owner/old")
    wait_until_written_out(any_helper)
    assert use(any_helper, tmp_path) == "kept"
    wait_until_written_out(any_helper)
    mark.write_text(ANOTHER_BOOT)
    os.chown(mark, any_helper.caches.stat().st_uid, any_helper.caches.stat().st_gid)
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert builder.handle.cache == "recreated"
        assert "old" not in builder.inside("ls", "/b/owner").stdout


def test_a_cache_that_is_mounted_elsewhere_is_in_use(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    first, second = Image(folder, "a"), Image(folder, "a")
    first._make(images.BYTES_PER_INODE << 10, 0, Mkfs(str(ENGINE_ROOT)))
    assert not second.is_free()
    first.close()
    assert second.is_free()
    os.close(folder)


def test_a_start_removes_what_a_dead_helper_left(tmp_path: Path) -> None:
    with running_helper(tmp_path / "data") as first:
        use(first, tmp_path)
        ids = (first.caches / "ids.json").read_text()
    (first.caches / f"{OWNER}.img.new").write_text("half made")
    (first.caches / f"{STRANGER}.img").write_text("of nobody")
    (first.data_dir / "run/helper.sock").write_text("stale")
    with running_helper(tmp_path / "data") as second:
        assert [cache.owner for cache in second.client.caches()] == [OWNER]
        assert not (second.caches / f"{OWNER}.img.new").exists()
        assert (second.caches / "ids.json").read_text() == ids
        assert use(second, tmp_path) == "kept"


def test_two_helpers_never_share_a_data_directory(tmp_path: Path) -> None:
    with (
        running_helper(tmp_path / "data") as first,
        pytest.raises(AssertionError, match="helper ended"),
        running_helper(tmp_path / "data"),
    ):
        pass
    assert first.process.returncode == 0


def test_ids_are_kept_until_the_cache_is_gone(helper: RunningHelper, tmp_path: Path) -> None:
    file = helper.caches / "ids.json"
    for owner in (OWNER, STRANGER):
        with running_builder(helper, tmp_path / "worker", owner=owner):
            pass
    ids = json.loads(file.read_text())
    assert set(ids) == {str(OWNER), str(STRANGER)}
    helper.client.drop(OWNER)
    assert json.loads(file.read_text()) == {str(STRANGER): ids[str(STRANGER)]}


def test_a_host_without_mkfs_uses_that_of_the_engine_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ENGINE_ROOT / "usr/sbin/mkfs.ext4").exists():
        pytest.skip("this engine root has none")
    monkeypatch.setattr(commands, "PATH", "/nowhere")
    mkfs = Mkfs(str(ENGINE_ROOT))
    assert mkfs.available
    folder = os.open(tmp_path, os.O_RDONLY)
    image = Image(folder, "a")
    image._make(64 << 20, 1234, mkfs)
    assert image._is_sound(64 << 20)
    image.close()
    os.close(folder)


def test_mkfs_of_an_engine_root_that_others_can_change_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PATH", "/nowhere")
    program = tmp_path / "root/usr/sbin/mke2fs"
    program.parent.mkdir(parents=True)
    program.write_text("")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o022 and not folder.stat().st_mode & 0o1000:
            pytest.skip("the temporary folder is open to everybody")
    assert Mkfs(str(tmp_path / "root")).available  # the control
    os.chown(program.parent, 65534, 65534)
    assert not Mkfs(str(tmp_path / "root")).available


def test_a_mark_of_this_boot_is_no_reason_to_distrust(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    mark = BootMark(folder, "a")
    assert not mark.is_of_another_boot()
    mark.set()
    assert not mark.is_of_another_boot()
    (tmp_path / "a.boot").write_text(ANOTHER_BOOT)
    assert mark.is_of_another_boot()
    mark.clear()
    assert not mark.is_of_another_boot()
    os.close(folder)


def test_a_drop_of_an_owner_without_a_cache_is_done_at_once(helper: RunningHelper) -> None:
    helper.client.drop(STRANGER)
    assert helper.client.caches() == []


def test_a_builder_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, open_folder: Path
) -> None:
    with running_helper(tmp_path / "data", engine_root=open_folder) as helper:
        assert any("engine-root" in problem for problem in helper.client.info().problems)
        with pytest.raises(HelperError) as caught:
            use(helper, tmp_path)
        assert caught.value.code == "sandbox"
        wait_for(lambda: not helper.client.caches()[0].in_use, "the sandbox's end")
