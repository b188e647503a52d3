"""What a context archive may hold, what is refused, and that nothing lands anywhere else."""

import io
import os
import shutil
import stat
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builds.context import (
    ContextLimits,
    ContextRefused,
    ContextSummary,
    load_dockerignore,
    unpack,
    zip_reader,
)

SMALL = ContextLimits(
    members=10, total_bytes=100_000, member_bytes=60_000, ratio=50, ratio_floor_bytes=30_000
)


def entry(
    name: str, mode: int = 0o100644, *, method: int = zipfile.ZIP_DEFLATED
) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (2024, 5, 17, 12, 30, 2))
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def archive(*members: tuple[zipfile.ZipInfo | str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for info, content in members:
            made.writestr(entry(info) if isinstance(info, str) else info, content)
    return file


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    return entry(name, 0o120777), target.encode()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def unpacked(file: Path | BinaryIO, into: Path, limits: ContextLimits = SMALL) -> ContextSummary:
    return unpack(file, into, limits=limits, tick=lambda: None)


def refusal(file: BinaryIO, into: Path, limits: ContextLimits = SMALL) -> str:
    with pytest.raises(ContextRefused) as refused:
        unpacked(file, into, limits)
    assert "\n" not in refused.value.text
    assert ": " in refused.value.text, "a refusal says what to do"
    return refused.value.text


# What is kept.


def test_files_and_folders_come_out_as_they_went_in(into: Path) -> None:
    summary = unpacked(
        archive(("src/", b""), ("src/app.py", b"print()"), ("a/b/c", b"x" * 9)), into
    )
    assert (into / "src/app.py").read_bytes() == b"print()"
    assert (into / "a/b/c").read_bytes() == b"x" * 9
    assert summary == ContextSummary(files=2, folders=3, links=0, bytes=16)


def test_a_path_is_unpacked_like_an_open_file(into: Path, tmp_path: Path) -> None:
    (tmp_path / "context.zip").write_bytes(archive(("a", b"1")).getvalue())
    assert unpacked(tmp_path / "context.zip", into).files == 1


def test_an_empty_archive_is_an_empty_context(into: Path) -> None:
    assert unpacked(archive(), into) == ContextSummary(files=0, folders=0, links=0, bytes=0)
    assert not list(into.iterdir())


def test_a_dockerfile_in_the_archive_is_an_ordinary_file(into: Path) -> None:
    unpacked(archive(("Dockerfile", b"FROM x")), into)
    assert (into / "Dockerfile").read_bytes() == b"FROM x"


def modes(into: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in into.iterdir()}


def test_modes_are_kept_as_docker_build_keeps_them(into: Path) -> None:
    unpacked(
        archive(
            (entry("run.sh", 0o100700), b""),
            (entry("root", 0o106755), b""),
            (entry("plain", 0o100640), b""),
            (entry("private", 0o100600), b""),
            (entry("untyped", 0o750), b""),
            (entry("open/", 0o041777), b""),
        ),
        into,
    )
    assert modes(into) == {
        "run.sh": 0o700, "root": 0o755, "plain": 0o640, "private": 0o600, "untyped": 0o750,
        "open": 0o1777,
    }  # fmt: skip


def test_what_the_service_could_not_read_or_remove_again_is_opened_for_its_owner(
    into: Path,
) -> None:
    file = archive((entry("locked", 0o100002), b""), (entry("d/", 0o040555), b""), ("d/f", b"1"))
    unpacked(file, into)
    assert modes(into) == {"locked": 0o402, "d": 0o755}
    assert (into / "d/f").read_bytes() == b"1"


@pytest.mark.parametrize(("system", "attributes"), [(0, 0), (3, 0), (0, 0o100644 << 16), (10, 32)])
def test_a_zip_without_unix_modes_gives_what_can_be_run(
    into: Path, system: int, attributes: int
) -> None:
    file = windows(archive(("run.sh", b""), ("d/", b"")), system, attributes)
    unpacked(file, into)
    assert modes(into) == {"run.sh": 0o755, "d": 0o755}


def test_content_that_pythons_zipfile_was_given_no_mode_for_can_be_read_by_all(into: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a", b"")
    unpacked(file, into)
    assert modes(into) == {"a": 0o755}


def test_a_type_of_file_without_a_unix_system_is_not_believed(into: Path) -> None:
    file = windows(archive(("link", b"/etc/passwd")), 0, 0o120777 << 16)
    assert unpacked(file, into).links == 0
    assert (into / "link").read_bytes() == b"/etc/passwd"


def windows(file: io.BytesIO, system: int, attributes: int) -> io.BytesIO:
    """The same zip with another maker and other attributes in each record of its list."""
    data = bytearray(file.getvalue())
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        data[at + 5] = system
        data[at + 38 : at + 42] = struct.pack("<L", attributes)
    return io.BytesIO(data)


def test_modes_do_not_depend_on_the_umask(into: Path) -> None:
    before = os.umask(0o077)
    try:
        unpacked(archive(("d/f", b"")), into)
    finally:
        os.umask(before)
    assert stat.S_IMODE((into / "d").stat().st_mode) == 0o755
    assert stat.S_IMODE((into / "d/f").stat().st_mode) == 0o644


def test_times_are_the_archives_own_and_the_same_each_time(into: Path, tmp_path: Path) -> None:
    broken = entry("broken-date")
    broken.date_time = (1980, 0, 0, 0, 0, 0)
    file = archive(("dated", b"x" * 100_00), ("made/here", b""), (broken, b""))
    unpacked(file, into)
    assert (into / "dated").stat().st_mtime == 1_715_949_002
    assert (into / "broken-date").stat().st_mtime == 315_532_800
    assert (into / "made").stat().st_mtime == 315_532_800


@pytest.mark.parametrize(("seconds", "kept"), [(1_700_000_001, 1_700_000_001), (-5, 0)])
def test_the_extended_timestamp_outranks_the_local_time(
    into: Path, seconds: int, kept: int
) -> None:
    info = entry("a")
    info.extra = struct.pack("<HHBl", 0x5455, 5, 1, seconds)
    unpacked(archive((info, b"")), into)
    assert (into / "a").stat().st_mtime == kept


def test_a_timestamp_field_without_a_modification_time_is_passed_over(into: Path) -> None:
    info = entry("a")
    info.extra = struct.pack("<HHBl", 0x5455, 5, 2, 99) + b"\x55\x54\xff"
    unpacked(archive((info, b"")), into)
    assert (into / "a").stat().st_mtime == 1_715_949_002


def unicode_path(plain: bytes, name: bytes) -> bytes:
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(plain)) + name


def test_a_unicode_path_field_names_the_member(into: Path) -> None:
    info = entry("gr__e/x")
    info.extra = unicode_path(b"gr__e/x", "grüße/x".encode())
    unpacked(archive((info, b"1")), into)
    assert (into / "grüße/x").read_bytes() == b"1"


def test_a_unicode_path_field_of_another_name_is_passed_over(into: Path) -> None:
    info = entry("renamed")
    info.extra = unicode_path(b"before", b"before-renaming")
    unpacked(archive((info, b"1")), into)
    assert [path.name for path in into.iterdir()] == ["renamed"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [(b"../evil", "leads out"), (b"/etc/x", "absolute"), (b"a\0b", "control"), (b"\xff", "UTF-8")],
)
def test_a_unicode_path_field_is_checked_like_any_name(
    into: Path, name: bytes, complaint: str
) -> None:
    info = entry("harmless")
    info.extra = unicode_path(b"harmless", name)
    assert complaint in refusal(archive((info, b"")), into)


def test_names_differing_in_case_are_different_files(into: Path) -> None:
    unpacked(archive(("README", b"1"), ("readme", b"2")), into)
    assert sorted(path.name for path in into.iterdir()) == ["README", "readme"]


def test_names_in_utf8_are_read_with_and_without_the_flag(into: Path) -> None:
    flagged = archive(("grüße", b""))
    unflagged = archive(("xx", b"")).getvalue().replace(b"xx", "é".encode())
    unpacked(flagged, into)
    unpacked(io.BytesIO(unflagged), _empty(into.parent / "second"))
    assert [path.name for path in into.iterdir()] == ["grüße"]
    assert [path.name for path in (into.parent / "second").iterdir()] == ["é"]


def test_dots_in_paths_that_stay_in_place_are_dropped(into: Path) -> None:
    unpacked(archive(("./", b""), ("./a/./b", b""), ("a//c", b"")), into)
    assert sorted(path.name for path in (into / "a").iterdir()) == ["b", "c"]


def test_zip64_archives_are_read(into: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made, made.open(entry("big"), "w", force_zip64=True) as big:
        big.write(b"64")
    unpacked(file, into)
    assert (into / "big").read_bytes() == b"64"


def test_stored_members_are_read(into: Path) -> None:
    unpacked(archive((entry("raw", method=zipfile.ZIP_STORED), b"raw")), into)
    assert (into / "raw").read_bytes() == b"raw"


@pytest.mark.parametrize(
    "target",
    ["sibling", "../a/./sibling", "nowhere", "link", "/usr/bin/python3", "../../../etc/passwd"],
)
def test_links_are_kept_wherever_they_point(into: Path, target: str) -> None:
    summary = unpacked(archive(("a/sibling", b""), link("a/link", target)), into)
    assert os.readlink(into / "a/link") == target  # noqa: PTH115 - Path tidies it
    assert (into / "a/link").lstat().st_mtime == 1_715_949_002
    assert summary.links == 1


def test_nothing_is_written_through_a_link_that_points_outside(into: Path) -> None:
    outside = _empty(into.parent / "outside")
    (outside / "file").write_text("untouched")
    text = refusal(archive(link("out", str(outside)), ("out/file", b"evil")), into)
    assert "lies below 'out', which is not a folder" in text
    assert (outside / "file").read_text() == "untouched"
    unpacked(archive(link("out", str(outside)), ("x", b"")), _empty(into.parent / "second"))
    shutil.rmtree(into.parent / "second")
    assert (outside / "file").read_text() == "untouched"


def test_an_absolute_link_in_an_ignored_folder_is_no_obstacle(into: Path) -> None:
    venv = link(".venv/bin/python", "/usr/bin/python3")
    unpacked(archive(("a.txt", b""), venv, (".dockerignore", b".venv\n")), into)
    assert (into / ".venv/bin/python").readlink() == Path("/usr/bin/python3")
    ignored = load_dockerignore(into)
    assert ignored
    assert ignored.excludes(".venv/bin/python")


def test_a_nested_archive_is_not_taken_for_a_long_list_of_files(into: Path) -> None:
    inner = archive(*((f"{n}", b"") for n in range(600))).getvalue()
    assert inner.count(b"PK\x01\x02") > 10 * SMALL.members
    unpacked(archive((entry("inner.zip", method=zipfile.ZIP_STORED), inner)), into)
    assert (into / "inner.zip").read_bytes() == inner


# What is refused.


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("a/..", "leads out"),
        ("/etc/passwd", "absolute path"),
        ("//host/share", "absolute path"),
        ("C:/evil", "Windows path"),
        ("c:evil", "Windows path"),
        ("a\\b", "Windows path"),
        ("..\\evil", "Windows path"),
        ("new\nline", "control characters"),
        ("esc\x1b[2J", "control characters"),
        ("c1\x85", "control characters"),
        ("x" * 256, "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
        ("d/" * 512 + "f", "more than 1024 bytes"),
        ("d/" * 64 + "f", "64 folders deep"),
        (".", "not a file's name"),
    ],
)
def test_a_name_that_could_do_harm_is_refused(into: Path, name: str, complaint: str) -> None:
    assert complaint in refusal(archive((name, b"evil")), into)
    assert not list(into.iterdir())


def test_a_name_with_a_nul_is_refused_and_not_shortened(into: Path) -> None:
    file = archive(("okXevil", b"")).getvalue().replace(b"okXevil", b"ok\0evil")
    assert "control characters" in refusal(io.BytesIO(file), into)


def test_a_nameless_member_is_refused(into: Path) -> None:
    file = archive(("x", b"")).getvalue()
    # The only member's name is cut out of both headers, and the lengths and offsets follow.
    local = struct.pack("<H", 0).join([file[:26], file[28:30]]) + file[31:]
    at = local.index(b"PK\x01\x02")
    local = local[: at + 28] + struct.pack("<H", 0) + local[at + 30 : at + 46] + local[at + 47 :]
    end = local.index(b"PK\x05\x06")
    local = local[: end + 12] + struct.pack("<LL", end - at, at) + local[end + 20 :]
    assert "has no name" in refusal(io.BytesIO(local), into)


@pytest.mark.parametrize(
    "form", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, 0o110000]
)
def test_devices_pipes_and_sockets_are_refused(into: Path, form: int) -> None:
    assert "device, pipe or socket" in refusal(archive((entry("odd", form | 0o644), b"")), into)


@pytest.mark.parametrize("target", ["", "a\0b", "x/" * 600])
def test_a_link_without_a_usable_target_is_refused(into: Path, target: str) -> None:
    assert "'link'" in refusal(archive(link("link", target)), into)
    assert not list(into.iterdir())


@pytest.mark.parametrize("below", ["link/file", "link/deeper/file", "file/x"])
def test_nothing_is_written_below_a_link_or_a_file(into: Path, below: str) -> None:
    file = archive(link("link", "folder"), ("file", b""), ("folder/", b""), (below, b""))
    assert "not a folder" in refusal(file, into)


@pytest.mark.parametrize("second", ["a", "./a", "a/"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(into: Path, second: str) -> None:
    file = archive(("a", b"1"), (second, b""))
    assert "twice" in refusal(file, into)


def test_a_folder_with_content_is_refused(into: Path) -> None:
    assert "folder with content" in refusal(archive(("a/", b"content")), into)


def test_too_many_members_are_refused(into: Path) -> None:
    file = archive(*((f"{n}", b"") for n in range(11)))
    assert "more than 10 files" in refusal(file, into)


def test_folders_that_only_names_tell_of_count_as_members(into: Path) -> None:
    unpacked(archive(("a/b/c/d/e/f/g/h/i/j", b"")), into)
    file = archive(("a/b/c/d/e/f/g/h/i/j/k", b""))
    assert "more than 10 files" in refusal(file, _empty(into.parent / "second"))


def test_a_file_that_is_a_folder_too_is_refused(into: Path) -> None:
    assert "not a folder" in refusal(archive(("a/b", b""), ("a", b"")), into)


def test_a_huge_list_of_files_is_refused_before_it_is_read(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(zip_reader, "read_members")
    record = b"PK\x01\x02" + bytes(42)
    listed = record * 2_500
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2_500, 2_500, len(listed), 0, 0)
    assert "more than 10 files" in refusal(io.BytesIO(listed + end), into)
    padded = b"x" * (10 * 1024 + 200_000)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(padded), 0, 0)
    assert "more than 10 files" in refusal(io.BytesIO(padded + end), into)


def test_too_much_in_total_is_refused(into: Path) -> None:
    noise = [(f"{n}", os.urandom(40_000)) for n in range(3)]
    assert "larger than 100,000 bytes" in refusal(archive(*noise), into)


def test_a_member_that_is_too_large_is_refused_by_name(into: Path) -> None:
    text = refusal(archive(("big", os.urandom(60_001))), into)
    assert "'big' is larger than 60,000 bytes" in text


def test_a_bomb_is_refused_before_it_fills_the_disk(into: Path) -> None:
    assert "50 times its size" in refusal(archive(("zeros", bytes(60_000))), into)
    assert sum(path.stat().st_size for path in into.iterdir()) <= 30_000


def test_a_declared_size_that_lies_is_not_believed(into: Path) -> None:
    """The header says 5 bytes where 50,000 are packed; the checksum fits neither."""
    honest = archive(("liar", os.urandom(50_000))).getvalue()
    real, claimed = struct.pack("<L", 50_000), struct.pack("<L", 5)
    text = refusal(io.BytesIO(honest.replace(real, claimed)), into)
    assert "'liar' is damaged" in text
    assert sum(path.stat().st_size for path in into.iterdir()) <= 5


def test_a_member_shorter_than_declared_is_refused(into: Path) -> None:
    file = archive(("short", b"abc")).getvalue()
    longer = file.replace(struct.pack("<L", 3) + struct.pack("<H", 5), struct.pack("<LH", 4, 5))
    assert longer != file
    assert "'short' is damaged" in refusal(io.BytesIO(longer), into)


def test_encrypted_members_are_refused(into: Path) -> None:
    file = bytearray(archive(("secret", b"x")).getvalue())
    file[file.index(b"PK\x01\x02") + 8] |= 1
    assert "'secret' is encrypted" in refusal(io.BytesIO(file), into)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(into: Path, method: int) -> None:
    assert "other than deflate" in refusal(archive((entry("odd", method=method), b"x")), into)


def test_members_that_share_bytes_are_refused(into: Path) -> None:
    """Two records of the list point to one and the same member: the second is for free."""
    file = archive(("a", b"kernel")).getvalue()
    at, end = file.index(b"PK\x01\x02"), file.index(b"PK\x05\x06")
    record = file[at:end]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 2 * len(record), at, 0)
    doubled = file[:at] + record + record.replace(b"a", b"b") + tail
    assert "overlaps" in refusal(io.BytesIO(doubled), into)


@pytest.mark.parametrize("content", [b"PK\x05\x06", b"PK\x03\x04" + bytes(99), b"x PK\x05\x06 x"])
def test_what_only_starts_like_a_zip_is_refused(into: Path, content: bytes) -> None:
    assert "the build context is damaged" in refusal(io.BytesIO(content), into)


def test_a_truncated_archive_is_refused(into: Path) -> None:
    whole = archive(("a", os.urandom(500))).getvalue()
    assert "damaged or cut short" in refusal(io.BytesIO(whole[:-100]), into)


def test_damaged_content_is_refused_by_name(into: Path) -> None:
    stored = (entry("a", method=zipfile.ZIP_STORED), b"content")
    file = archive(stored).getvalue().replace(b"content", b"CONTENT")
    assert "'a' is damaged" in refusal(io.BytesIO(file), into)
    deflated = bytearray(archive(("b", b"content" * 99)).getvalue())
    deflated[31:41] = b"\xff" * 10
    assert "'b' is damaged" in refusal(io.BytesIO(deflated), _empty(into.parent / "second"))


def test_a_hostile_name_is_shown_short_and_harmless(into: Path) -> None:
    text = refusal(archive(("\x1b]0;" + "x" * 5_000, b"")), into)
    assert "\x1b" not in text
    assert len(text) < 300


# How it is done.


def test_a_folder_that_is_not_empty_is_a_fault_of_ours(into: Path) -> None:
    (into / "left").touch()
    with pytest.raises(ValueError, match="not empty"):
        unpacked(archive(("a", b"")), into)


def test_a_tick_comes_with_each_member_and_each_piece_and_may_end_it(into: Path) -> None:
    class CancelledError(Exception):
        pass

    seen = []

    def tick() -> None:
        seen.append((into / "big").exists() and (into / "big").stat().st_size)
        if seen[-1]:
            raise CancelledError

    file = archive(("big", os.urandom(1_000_000)))
    with pytest.raises(CancelledError):
        unpack(file, into, limits=ContextLimits(), tick=tick)
    assert 0 < seen[-1] < 200_000


def test_no_descriptor_stays_open(into: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    unpacked(archive(("a/b/c", b""), ("d/e", b"")), into)
    refusal(archive(("x/y", bytes(60_000))), _empty(into.parent / "second"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_a_link_planted_while_it_unpacks_is_not_followed(into: Path, swapped: str) -> None:
    outside = _empty(into.parent / "outside")
    (outside / "file").write_text("untouched")

    def plant() -> None:
        if (
            swapped == "folder"
            and (into / "folder").is_dir()
            and not (into / "folder").is_symlink()
        ):
            (into / "folder").rename(into.parent / "away")
            (into / "folder").symlink_to(outside)
        if swapped == "file" and (into / "folder").is_dir():
            (into / "folder/file").unlink(missing_ok=True)
            (into / "folder/file").symlink_to(outside / "file")

    new = "new" if swapped == "folder" else "file"
    file = archive(("folder/", b""), ("elsewhere/x", b""), (f"folder/{new}", b"evil"))
    with pytest.raises(OSError, match=r"Not a directory|Too many levels|File exists"):
        unpack(file, into, limits=SMALL, tick=plant)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "untouched"


_names = st.one_of(
    st.sampled_from(
        ["../x", "/x", "a/../../x", "a", "a/b", "a/b/", "b", "l", "l/x", "b/../x", "./a"]
    ),
    st.text(st.sampled_from("ab./\\:\0 é"), min_size=1, max_size=8),
)
_modes = st.sampled_from([0, 0o100644, 0o100755, 0o120777, 0o040755, 0o010644, 0o104777])
_contents = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"../outside", b"..", b"a", b"l", b"a/..", b"/tmp", bytes(50_000)]),
    st.integers(0, 70_000).map(os.urandom),
)


@settings(max_examples=300, deadline=None)
@given(
    members=st.lists(st.tuples(_names, _modes, _contents), max_size=6),
    damage=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=3),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_the_archive_nothing_is_written_outside_or_beyond_the_limits(
    members: list[tuple[str, int, bytes]], damage: list[tuple[int, int]]
) -> None:
    made = bytearray(archive(*((entry(n, m), c) for n, m, c in members)).getvalue())
    for at, value in damage:
        made[-1 - at % len(made)] = value
    with TemporaryDirectory() as base:
        into = Path(base, "into")
        into.mkdir()
        with suppress(ContextRefused):
            unpacked(io.BytesIO(made), into)
        assert list(Path(base).iterdir()) == [into]
        found = list(into.rglob("*"))
        assert len(found) <= SMALL.members
        assert (
            sum(p.lstat().st_size for p in found if p.is_file() and not p.is_symlink()) <= 100_000
        )
        for path in found:
            assert stat.S_IFMT(path.lstat().st_mode) in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}


def test_memory_does_not_grow_with_the_size_of_a_member(into: Path) -> None:
    file = archive(("big", bytes(30_000_000)))
    tracemalloc.start()
    try:
        unpacked(file, into, ContextLimits(ratio=10_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder
