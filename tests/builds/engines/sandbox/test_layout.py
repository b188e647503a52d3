"""A layout out of the sandbox is believed in nothing that was not checked."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builds.build_spec import BuildOutcome
from builds.engines.sandbox.layout import LayoutError, read_layout, write_layout


@pytest.fixture
def outcome(tmp_path: Path) -> BuildOutcome:
    config = {"rootfs": {"type": "layers", "diff_ids": []}}
    return write_layout(tmp_path / "layout", config=config, layers=[b"one", b"two"])


def blob(outcome: BuildOutcome) -> Path:
    return outcome.layout / "blobs/sha256" / outcome.digest.removeprefix("sha256:")


def rewrite(outcome: BuildOutcome, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the index, as whoever wrote the layout could."""
    index = json.loads((outcome.layout / "index.json").read_text())
    change(index)
    (outcome.layout / "index.json").write_text(json.dumps(index))


def test_what_was_written_is_read(outcome: BuildOutcome) -> None:
    assert read_layout(outcome.layout) == outcome
    assert outcome.size_bytes > len(b"onetwo")


def swap_a_blob_for_a_link(outcome: BuildOutcome) -> None:
    moved = outcome.layout.parent / "moved"
    shutil.move(blob(outcome), moved)
    blob(outcome).symlink_to(moved)


def swap_the_index_for_a_pipe(outcome: BuildOutcome) -> None:
    (outcome.layout / "index.json").unlink()
    os.mkfifo(outcome.layout / "index.json")


def swap_a_folder_for_a_link(outcome: BuildOutcome) -> None:
    moved = outcome.layout.parent / "moved"
    shutil.move(outcome.layout / "blobs", moved)
    (outcome.layout / "blobs").symlink_to(moved)


def swap_the_layout_for_a_link(outcome: BuildOutcome) -> None:
    moved = outcome.layout.parent / "moved"
    shutil.move(outcome.layout, moved)
    outcome.layout.symlink_to(moved)


def add_a_link(outcome: BuildOutcome) -> None:
    (outcome.layout / "extra").symlink_to("/etc/passwd")


def add_a_blob(outcome: BuildOutcome) -> None:
    name = hashlib.sha256(b"more").hexdigest()
    (outcome.layout / "blobs/sha256" / name).write_bytes(b"more")


def change_a_blob(outcome: BuildOutcome) -> None:
    blob(outcome).write_bytes(blob(outcome).read_bytes() + b" ")


def drop_a_blob(outcome: BuildOutcome) -> None:
    blob(outcome).unlink()


def name_two_images(outcome: BuildOutcome) -> None:
    rewrite(outcome, lambda index: index["manifests"].append(index["manifests"][0]))


def name_no_image(outcome: BuildOutcome) -> None:
    rewrite(outcome, lambda index: index["manifests"].clear())


def climb_out(outcome: BuildOutcome) -> None:
    rewrite(outcome, lambda index: index["manifests"][0].update(digest="sha256:../../index.json"))


def lie_about_a_size(outcome: BuildOutcome) -> None:
    rewrite(outcome, lambda index: index["manifests"][0].update(size=1))


def nest_without_end(outcome: BuildOutcome) -> None:
    (outcome.layout / "index.json").write_text("[" * 200_000)


def write_no_json(outcome: BuildOutcome) -> None:
    (outcome.layout / "index.json").write_bytes(b"\xff\x00")


def drop_everything(outcome: BuildOutcome) -> None:
    shutil.rmtree(outcome.layout)


FAULTS = [
    swap_a_blob_for_a_link,
    swap_the_index_for_a_pipe,
    swap_a_folder_for_a_link,
    swap_the_layout_for_a_link,
    add_a_link,
    add_a_blob,
    change_a_blob,
    drop_a_blob,
    name_two_images,
    name_no_image,
    climb_out,
    lie_about_a_size,
    nest_without_end,
    write_no_json,
    drop_everything,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_layout_with_a_fault_is_refused(
    outcome: BuildOutcome, fault: Callable[[BuildOutcome], None]
) -> None:
    fault(outcome)
    with pytest.raises(LayoutError):
        read_layout(outcome.layout)
