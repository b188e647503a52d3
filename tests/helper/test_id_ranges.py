"""Ranges of kernel ids: never shared, never anybody else's, remembered."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from helper import id_ranges
from helper.id_ranges import (
    COUNT,
    FIRST,
    SIZE,
    IdRanges,
    mapped_ranges,
    subordinate_range,
    taken_ranges,
)
from helper.protocol import Refused

A, B, C = UUID(int=3), UUID(int=4), UUID(int=5)


def ranges(
    folder: int, *taken: range, installation: str = "one", in_use: Sequence[range] = ()
) -> IdRanges:
    return IdRanges(folder, taken, installation=installation, in_use=lambda: in_use)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_owners_get_ranges_that_do_not_overlap_and_keep_them(folder: int) -> None:
    ids = ranges(folder)
    first = [ids.assign(owner) for owner in (A, B, C)]
    assert len(set(first)) == 3
    assert all(start >= FIRST and (start - FIRST) % SIZE == 0 for start in first)
    again = ranges(folder)
    assert [again.assign(owner) for owner in (C, B, A)] == first[::-1]


def test_a_range_is_free_again_after_its_release(
    folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_ranges, "COUNT", 1)
    ids = ranges(folder)
    first = ids.assign(A)
    ids.release(A)
    assert ranges(folder).assign(B) == first


def test_ranges_of_the_host_are_skipped(folder: int) -> None:
    ids = ranges(folder)
    start = ids.assign(A)
    ids.release(A)
    after = FIRST + (start + SIZE - FIRST) % (COUNT * SIZE)
    for taken in (range(start, start + 1), range(start + SIZE - 1, start + SIZE)):
        for ids in (ranges(folder, taken), ranges(folder, in_use=[taken])):
            assert ids.assign(A) == after
            ids.release(A)
    assert ranges(folder, range(start - 9, start)).assign(A) == start  # the control


def test_an_owner_has_other_ids_in_each_installation(folder: int) -> None:
    ids = ranges(folder, installation="one")
    first = ids.assign(A)
    ids.release(A)
    assert ranges(folder, installation="two").assign(A) != first


def test_what_processes_map_is_seen(tmp_path: Path) -> None:
    for pid, text in ((1, f"0 0 {1 << 32}\n"), (7, f"0 {FIRST + SIZE} {SIZE}\n"), (8, "")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "uid_map").write_text(text.replace(" ", "       "))
    (tmp_path / "9").mkdir()  # ended meanwhile
    assert mapped_ranges(tmp_path) == [range(FIRST + SIZE, FIRST + 2 * SIZE)]


def test_no_range_is_given_twice_when_all_are_in_use(
    folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_ranges, "COUNT", 2)
    ids = ranges(folder)
    assert ids.assign(A) != ids.assign(B)
    with pytest.raises(Refused) as caught:
        ids.assign(C)
    assert caught.value.code == "no-ids"
    ids.release(A)
    assert ids.assign(C)


def test_a_range_ends_below_the_highest_id() -> None:
    assert FIRST + COUNT * SIZE <= 1 << 31


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"00000000": [1]}', "{"])
def test_a_spoilt_file_counts_as_none(folder: int, tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.json").write_text(text)
    assert ranges(folder).owners() == set()


def test_the_range_of_a_folder_that_is_left_is_adopted(folder: int) -> None:
    ids = ranges(folder)
    ids.adopt(A, FIRST + 9 * SIZE)
    ids.adopt(B, FIRST + 9 * SIZE + 1)
    ids.adopt(C, 1000)
    assert ids.owners() == {A}
    assert ids.assign(A) == FIRST + 9 * SIZE


def test_the_hosts_files_name_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text("build:100000:65536\nbroken\nx:y:z\n")
    (tmp_path / "passwd").write_text("a:x:1000:1000::/:/bin/sh\n")
    (tmp_path / "group").write_text("a:x:1001:\n")
    found = taken_ranges(tmp_path)
    assert found == [range(100000, 165536), range(1000, 1001), range(1001, 1002)]
    assert subordinate_range("subuid", "build", 7, tmp_path) == 100000
    assert subordinate_range("subuid", "else", 7, tmp_path) is None
    assert subordinate_range("subgid", "build", 7, tmp_path) is None
