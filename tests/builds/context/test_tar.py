"""What a tar context may hold, plain or compressed, what is refused, and what that costs."""

import gzip
import io
import os
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from builds.context import ContextLimits, ContextRefused, ContextSummary, decompression, unpack
from builds.context.decompression import ZSTD_WINDOW_BYTES
from builds.context.members import DEPTH
from tests.builds.context.test_context import SMALL, modes, refusal, unpacked

MIB = 1024**2
Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture(params=PACKERS)
def pack(request: pytest.FixtureRequest) -> Pack:
    return PACKERS[request.param]


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(content), 1_715_949_002, 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return link(name, target, tarfile.LNKTYPE)


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as made:
        for info, content in members:
            made.addfile(info, io.BytesIO(content))
    return file.getvalue()


def header(name: bytes, kind: bytes, size: int | bytes = 0, target: bytes = b"") -> bytes:
    """One raw block, its checksum right whatever the rest says."""
    told = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + told.ljust(12, b"\0") + b"0" * 11 + b"\0"
    block += b" " * 8 + kind + target.ljust(100, b"\0") + b"ustar\00000"
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        size = len(body) + len(str(len(body)))
        size = len(body) + len(str(size))
        data += str(size).encode() + body
    return header(b"pax", b"x", len(data)) + padded(data)


END = bytes(1024)


def raw(*parts: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(parts) + END)


# What is kept.


def test_files_folders_and_links_come_out_as_they_went_in(into: Path, pack: Pack) -> None:
    data = tar(
        folder("./"),
        folder("./src", mode=0o775),
        member("./src/app.py", b"print()", mode=0o755),
        link("./src/latest", "/usr/bin/python3"),
        member("a/b", b"x" * 5000),
    )
    summary = unpacked(io.BytesIO(pack(data)), into)
    assert summary == ContextSummary(files=2, folders=2, links=1, bytes=5007)
    assert (into / "src/app.py").read_bytes() == b"print()"
    assert (into / "a/b").read_bytes() == b"x" * 5000
    assert (into / "src/latest").readlink() == Path("/usr/bin/python3")
    assert modes(into / "src").pop("app.py") == 0o755
    assert modes(into) == {"src": 0o775, "a": 0o755}
    for path in (into / "src", into / "src/app.py", into / "src/latest"):
        assert path.lstat().st_mtime == 1_715_949_002


def test_special_bits_stay_with_folders_and_go_from_files(into: Path) -> None:
    data = tar(
        member("root", b"1", mode=0o6755), folder("tmp", mode=0o1777), folder("g", mode=0o2775),
        folder("closed", mode=0o555), member("closed/f", mode=0),
    )  # fmt: skip
    unpacked(io.BytesIO(data), into)
    assert modes(into) == {"root": 0o755, "tmp": 0o1777, "g": 0o2775, "closed": 0o755}
    assert modes(into / "closed") == {"f": 0o400}


def test_the_content_tells_the_format_and_the_name_does_not(
    into: Path, tmp_path: Path, pack: Pack
) -> None:
    (tmp_path / "context.zip").write_bytes(pack(tar(member("a", b"1"))))
    assert unpacked(tmp_path / "context.zip", into).files == 1


def test_an_empty_tar_is_an_empty_context(into: Path, pack: Pack) -> None:
    assert unpacked(io.BytesIO(pack(tar())), into).files == 0


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_targets_are_read_in_every_form(into: Path, form: int) -> None:
    long = "/".join(["d" * 60] * 3)
    data = [member(f"{long}/grüße", b"1")]
    if form != tarfile.USTAR_FORMAT:
        data += [link("l", long), member("f" * 200, b"2"), hard_link("h", f"{long}/grüße")]
    unpacked(io.BytesIO(tar(*data, form=form)), into)
    assert (into / long / "grüße").read_bytes() == b"1"
    if form != tarfile.USTAR_FORMAT:
        assert (into / "l").readlink() == Path(long)
        assert (into / ("f" * 200)).read_bytes() == b"2"
        assert (into / "h").read_bytes() == b"1"


@pytest.mark.parametrize("arguments", [["--format=gnu"], ["--format=posix"], ["--format=v7"]])
@pytest.mark.parametrize("compress", [[], ["--gzip"]])
def test_what_gnu_tar_writes_is_read(
    into: Path, tmp_path: Path, arguments: list[str], compress: list[str]
) -> None:
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/run.sh").write_bytes(os.urandom(70_000))
    (source / "deep/er/run.sh").chmod(0o750)
    (source / "deep/same").hardlink_to(source / "deep/er/run.sh")
    (source / "link").symlink_to("deep/er/run.sh")
    command = ["tar", *arguments, *compress, "-cf", str(tmp_path / "t"), "-C", str(source), "."]
    subprocess.run(command, check=True)
    limits = ContextLimits(members=10)
    assert unpacked(tmp_path / "t", into, limits).files == 2
    for name in ("deep/er/run.sh", "deep/same"):
        assert (into / name).read_bytes() == (source / "deep/er/run.sh").read_bytes()
        assert stat.S_IMODE((into / name).stat().st_mode) == 0o750
        assert (into / name).stat().st_nlink == 1
    assert (into / "link").readlink() == Path("deep/er/run.sh")


def test_backslashes_are_part_of_names_in_a_tar(into: Path) -> None:
    unpacked(io.BytesIO(tar(member("system-x\\x2dy.slice", b"1"))), into)
    assert (into / "system-x\\x2dy.slice").read_bytes() == b"1"


def test_a_hard_link_is_a_file_of_its_own(into: Path) -> None:
    data = tar(member("a", b"1"), hard_link("b", "./a"), hard_link("c", "b"))
    assert unpacked(io.BytesIO(data), into) == ContextSummary(files=3, folders=0, links=0, bytes=3)
    (into / "b").write_bytes(b"changed")
    assert (into / "a").read_bytes() == (into / "c").read_bytes() == b"1"


def test_a_hard_link_to_a_symbolic_link_is_that_link_again(into: Path) -> None:
    data = tar(link("a", "/etc/passwd"), hard_link("b", "a"))
    assert unpacked(io.BytesIO(data), into).links == 2
    assert (into / "b").readlink() == Path("/etc/passwd")


def test_content_that_a_link_claims_to_have_is_not_skipped(into: Path) -> None:
    file = raw(header(b"l", b"2", 512, b"t"), header(b"f", b"0"))
    assert unpacked(file, into) == ContextSummary(files=1, folders=0, links=1, bytes=0)


def test_a_global_header_as_git_archive_writes_it_is_passed_over(into: Path) -> None:
    body = padded(b"52 comment=" + b"a" * 40 + b"\n")
    unpacked(raw(header(b"pax_global_header", b"g", 52), body, header(b"f", b"0")), into)
    assert [path.name for path in into.iterdir()] == ["f"]


def test_pax_records_outrank_the_header(into: Path) -> None:
    records = pax(path="named", size="3", mtime="1700000000.25", SCHILY__xattr__user__x="y")
    file = raw(records, header(b"other", b"0", 0), padded(b"abc"), header(b"next", b"0"))
    unpacked(file, into)
    assert (into / "named").read_bytes() == b"abc"
    assert (into / "named").stat().st_mtime_ns == 1_700_000_000_250_000_000
    assert (into / "next").exists()


@pytest.mark.parametrize(
    ("mtime", "kept"),
    [("-1", 0), ("99999999999", 2**33 - 1), ("12.5", 12), ("soon", 0), ("9" * 40, 0)],
)
def test_times_that_no_file_has_are_replaced(into: Path, mtime: str, kept: int) -> None:
    unpacked(raw(pax(mtime=mtime), header(b"f", b"0")), into)
    assert int((into / "f").stat().st_mtime) == kept


def test_sizes_in_base_256_are_read(into: Path) -> None:
    file = raw(header(b"f", b"0", b"\x80" + (3).to_bytes(11, "big")), padded(b"abc"))
    unpacked(file, into)
    assert (into / "f").read_bytes() == b"abc"


def test_a_single_block_of_zeros_ends_an_archive_too(into: Path) -> None:
    unpacked(io.BytesIO(header(b"f", b"0") + bytes(512)), into)
    assert (into / "f").exists()


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_an_archive_compressed_in_pieces_is_read_as_one(into: Path, name: str) -> None:
    data = tar(member("a", os.urandom(3000)), member("b", b"2"))
    packer = PACKERS[name]
    pieces = [packer(data[at : at + 700]) for at in range(0, len(data), 700)]
    unpacked(io.BytesIO(b"".join(pieces)), into)
    assert (into / "b").read_bytes() == b"2"


def test_padding_after_gzip_and_skippable_frames_of_zstd_are_passed_over(into: Path) -> None:
    data = tar(member("a", b"1"))
    unpacked(io.BytesIO(gzip.compress(data) + bytes(200_000)), into)
    skipped = struct.pack("<LL", 0x184D2A53, 3) + b"abc"
    frames = skipped + PACKERS["tar.zst"](data) + skipped
    (into.parent / "second").mkdir()
    unpacked(io.BytesIO(frames), into.parent / "second")
    assert (into.parent / "second/a").read_bytes() == b"1"


# What is refused.


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("/etc/passwd", "absolute path"),
        ("new\nline", "control characters"),
        ("x" * 256, "more than 255 bytes"),
        ("d/" * 512 + "f", "more than 1024 bytes"),
        ("d/" * 64 + "f", "64 folders deep"),
    ],
)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_could_do_harm_is_refused(
    into: Path, name: str, complaint: str, form: int
) -> None:
    assert complaint in refusal(io.BytesIO(tar(member(name, b"x"), form=form)), into)
    assert not list(into.iterdir())


@pytest.mark.parametrize("name", [b"\xff", b"caf\xe9"])
def test_a_name_that_is_not_utf_8_is_refused(into: Path, name: bytes) -> None:
    assert "not UTF-8" in refusal(raw(header(name, b"0")), into)


def test_a_name_with_a_nul_in_a_pax_record_is_refused_and_not_shortened(into: Path) -> None:
    assert "control characters" in refusal(raw(pax(path="ok\0evil"), header(b"x", b"0")), into)


def test_a_nameless_member_is_refused(into: Path) -> None:
    assert "has no name" in refusal(raw(header(b"", b"0")), into)
    assert "not a file's name" in refusal(raw(header(b".", b"0")), into)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(into: Path, kind: bytes) -> None:
    assert "device, pipe or socket" in refusal(io.BytesIO(tar(member("odd", type=kind))), into)


@pytest.mark.parametrize("kind", [b"M", b"V", b"D", b"Z"])
def test_other_types_are_refused(into: Path, kind: bytes) -> None:
    assert "of the tar type" in refusal(raw(header(b"odd", kind)), into)


def test_sparse_files_are_refused_in_both_forms(into: Path) -> None:
    assert "without --sparse" in refusal(raw(header(b"old", b"S")), into)
    file = raw(pax(GNU__sparse__major="1"), header(b"new", b"0"))
    assert "without --sparse" in refusal(file, into)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("../outside", "leads out"),
        ("/etc/passwd", "absolute path"),
        ("later", "no file before it"),
        ("itself", "no file before it"),
        ("folder", "no file before it"),
        ("", "has no name"),
        ("out/passwd", "no file before it"),
    ],
)
def test_a_hard_link_to_anything_but_an_earlier_file_is_refused(
    into: Path, target: str, complaint: str
) -> None:
    data = tar(
        folder("folder"), link("out", "/etc"), hard_link("itself", target), member("later", b"1")
    )
    assert complaint in refusal(io.BytesIO(data), into)


@pytest.mark.parametrize("target", ["", "x/" * 600])
def test_a_link_without_a_usable_target_is_refused(into: Path, target: str) -> None:
    assert "'link'" in refusal(io.BytesIO(tar(link("link", target))), into)


@pytest.mark.parametrize("below", ["link/file", "file/x", "hard/x"])
def test_nothing_is_written_below_a_link_or_a_file(into: Path, below: str) -> None:
    data = tar(
        link("link", "folder"), member("file"), hard_link("hard", "file"), folder("folder"),
        member(below),
    )  # fmt: skip
    assert "not a folder" in refusal(io.BytesIO(data), into)


@pytest.mark.parametrize("second", [member("a"), folder("a"), link("./a", "b")])
def test_a_name_twice_is_refused(into: Path, second: tuple[tarfile.TarInfo, bytes]) -> None:
    assert "twice" in refusal(io.BytesIO(tar(member("a"), second)), into)


def test_too_many_members_are_refused(into: Path, pack: Pack) -> None:
    data = tar(*(member(f"{n}") for n in range(11)))
    assert "more than 10 files" in refusal(io.BytesIO(pack(data)), into)


def test_the_same_folder_over_and_over_is_refused(into: Path) -> None:
    file = raw(*[header(b"./", b"5")] * 100)
    assert "more than 10 files" in refusal(file, into)


def test_too_much_in_total_is_refused(into: Path, pack: Pack) -> None:
    data = tar(*(member(f"{n}", os.urandom(40_000)) for n in range(3)))
    assert "larger than 100,000 bytes" in refusal(io.BytesIO(pack(data)), into)
    assert sum(path.stat().st_size for path in into.iterdir()) <= 100_000


def test_a_member_that_is_too_large_is_refused_before_it_is_written(into: Path) -> None:
    data = tar(member("big", os.urandom(60_001)))
    assert "'big' is larger than 60,000 bytes" in refusal(io.BytesIO(data), into)
    assert not list(into.iterdir())


@pytest.mark.parametrize(
    "size", [b"\x80" + b"\xff" * 11, b"7" * 12, b"\x80\0\0\0\x7f" + b"\xff" * 7]
)
def test_a_huge_size_is_refused_before_anything_is_read(into: Path, size: bytes) -> None:
    assert "is larger than 60,000 bytes" in refusal(raw(header(b"huge", b"0", size)), into)
    file = raw(pax(size="9" * 20), header(b"huge", b"0"))
    assert "is larger than 60,000 bytes" in refusal(file, into)


@pytest.mark.parametrize("size", [b"\xff" * 12, b"12x45678901", b"-1"])
def test_a_size_that_is_none_is_refused(into: Path, size: bytes) -> None:
    assert "damaged" in refusal(raw(header(b"odd", b"0", size)), into)


def test_hard_links_count_like_the_files_that_they_become(into: Path) -> None:
    data = tar(member("a", os.urandom(50_000)), hard_link("b", "a"), hard_link("c", "a"))
    assert "larger than 100,000 bytes" in refusal(io.BytesIO(data), into)


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_a_bomb_is_refused_before_it_fills_the_disk(into: Path, name: str) -> None:
    file = io.BytesIO(PACKERS[name](tar(member("zeros", bytes(60_000)))))
    assert "50 times its size" in refusal(file, into)
    assert sum(path.stat().st_size for path in into.iterdir()) <= 30_000


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_a_bomb_behind_the_end_of_the_tar_is_refused(into: Path, name: str) -> None:
    file = io.BytesIO(PACKERS[name](tar(member("a", b"1")) + bytes(64 * MIB)))
    assert "larger than 100,000 bytes" in refusal(file, into)


def test_a_zstd_window_that_would_take_much_memory_is_refused(into: Path) -> None:
    # A frame header that asks for 256 MiB, and an empty last block.
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (28 - 10) << 3]) + b"\1\0\0"
    assert "window of more than 128 MiB" in refusal(io.BytesIO(frame), into)
    assert ZSTD_WINDOW_BYTES == 128 * MIB


def test_the_largest_permitted_zstd_window_is_read(into: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(tar(member("a", b"1"))) + compressor.flush()
    assert zstandard.get_frame_parameters(data).window_size == 128 * MIB
    unpacked(io.BytesIO(data), into)
    assert (into / "a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_a_stream_of_endless_empty_pieces_is_refused(
    into: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "MOST_FRAMES", 50)
    empty = PACKERS[name](b"")
    unpacked(io.BytesIO(empty * 49 + PACKERS[name](tar())), into)
    text = refusal(io.BytesIO(empty * 50 + PACKERS[name](tar())), into)
    assert "more than 50 pieces" in text


def test_an_extended_header_of_many_megabytes_is_not_read(into: Path) -> None:
    read = 0

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    for kind in (b"x", b"g", b"L", b"K"):
        read = 0
        size = 3 * MIB
        file = Counting(header(b"long", kind, size) + b"a" * size + header(b"f", b"0") + END)
        assert "extended tar headers" in refusal(file, into, ContextLimits())
        assert read < 200_000


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_chain_of_extended_headers_is_refused(into: Path, kind: bytes) -> None:
    chain = (header(b"long", kind, 0) for _ in range(10_000))
    assert "extended tar headers" in refusal(raw(*chain, header(b"f", b"0")), into)


def test_many_large_extended_headers_are_refused(into: Path) -> None:
    """Each alone is permitted, and the members are few."""
    limits = ContextLimits(members=10)
    long = header(b"x", b"x", MIB) + padded(b"1048576 k=" + b"v" * (MIB - 11) + b"\n")
    unpacked(raw(long, header(b"f", b"0")), into, limits)
    (into.parent / "second").mkdir()
    file = raw(long, header(b"f", b"0"), long, header(b"g", b"0"))
    assert "extended tar headers" in refusal(file, into.parent / "second", limits)


@pytest.mark.parametrize(
    "data",
    [b"5 a=\n\n", b"99 a=b\n", b"0 a=b\n", b"x a=b\n", b" a=b\n", b"6 a=bc", b"4 a\n", b"1" * 99],
)
def test_a_pax_header_that_is_not_well_formed_is_refused(into: Path, data: bytes) -> None:
    file = raw(header(b"p", b"x", len(data)), padded(data), header(b"f", b"0"))
    assert "not well-formed" in refusal(file, into)


def test_many_pax_records_take_linear_work(into: Path) -> None:
    """As many records as a header holds, each split off once."""
    data = b"5 a=\n" * (MIB // 5)
    file = raw(header(b"p", b"x", len(data)), padded(data), header(b"f", b"0"))
    unpacked(file, into, ContextLimits())
    assert (into / "f").exists()


def test_a_tar_that_ends_without_its_end_is_refused(into: Path, pack: Pack) -> None:
    data = header(b"f", b"0", 600) + padded(b"x" * 600)
    for length in (512, 700, len(data)):
        folder = into / str(length)
        folder.mkdir()
        text = refusal(io.BytesIO(pack(data[:length])), folder)
        assert "damaged or cut short" in text
    text = refusal(io.BytesIO(pack(pax(path="a") + END)), _new(into))
    assert "damaged or cut short" in text


def _new(into: Path) -> Path:
    folder = into / "new"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
@pytest.mark.parametrize("cut", [1, 4, 9, 200, 3000])
def test_a_compressed_stream_that_is_cut_is_refused(into: Path, name: str, cut: int) -> None:
    """Also where all of the tar has come and only the end of the stream is missing."""
    data = PACKERS[name](tar(member("a", os.urandom(3000))))
    assert "damaged or cut short" in refusal(io.BytesIO(data[:-cut]), into)


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_damage_anywhere_in_a_compressed_stream_is_refused(into: Path, name: str) -> None:
    data = bytearray(
        zstandard.ZstdCompressor(write_checksum=True).compress(tar(member("a", os.urandom(3000))))
        if name == "tar.zst"
        else gzip.compress(tar(member("a", os.urandom(3000))))
    )
    data[1500] ^= 0xFF
    assert "damaged or cut short" in refusal(io.BytesIO(bytes(data)), into)


def test_a_header_with_a_wrong_checksum_is_refused(into: Path) -> None:
    data = bytearray(tar(member("a", b"x" * 512), member("b")))
    data[1024] ^= 1
    assert "wrong checksum" in refusal(io.BytesIO(bytes(data)), into)


def test_what_follows_the_end_of_a_tar_is_not_passed_over(into: Path, pack: Pack) -> None:
    data = tar(member("a", b"1")) + tar(member("b", b"2"))
    assert "after the end of its tar" in refusal(io.BytesIO(pack(data)), into)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"not an archive", "is no archive"),
        (b"x" * 5000, "is no archive"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\0\0", "compressed with xz"),
        (b"7z\xbc\xaf'\x1c", "compressed with 7z"),
        (b"Rar!\x1a\x07", "compressed with RAR"),
    ],
)
def test_other_formats_are_refused_with_those_that_are_taken(
    into: Path, content: bytes, complaint: str
) -> None:
    text = refusal(io.BytesIO(content), into)
    assert complaint in text
    assert ".zip, .tar, .tar.gz or .tar.zst" in text


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_a_compressed_zip_is_refused(into: Path, name: str) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("a", b"x" * 600)
    assert "damaged" in refusal(io.BytesIO(PACKERS[name](inner.getvalue())), into)


def test_a_zip_that_holds_a_tar_is_a_zip(into: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("inner.tar", tar(member("a")))
    unpacked(file, into)
    assert [path.name for path in into.iterdir()] == ["inner.tar"]


# How it is done.


def test_a_tick_comes_within_each_piece_and_may_end_it(into: Path, pack: Pack) -> None:
    class CancelledError(Exception):
        pass

    def tick() -> None:
        if (into / "big").exists() and (into / "big").stat().st_size:
            raise CancelledError

    file = io.BytesIO(pack(tar(member("big", os.urandom(MIB)))))
    with pytest.raises(CancelledError):
        unpack(file, into, limits=ContextLimits(), tick=tick)
    assert 0 < (into / "big").stat().st_size < 300_000


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst"])
def test_a_tick_comes_while_a_stream_gives_nothing(into: Path, name: str) -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    with suppress(ContextRefused):
        unpack(io.BytesIO(PACKERS[name](b"") * 5000), into, limits=SMALL, tick=tick)
    assert ticks >= 5000


def test_no_descriptor_stays_open(into: Path, pack: Pack) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    unpacked(io.BytesIO(pack(tar(member("a/b"), hard_link("d/e", "a/b")))), into)
    refusal(io.BytesIO(pack(tar(member("x/y"), member("x/y")))), _new(into))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_memory_does_not_grow_with_the_size_of_a_member(into: Path, pack: Pack) -> None:
    file = io.BytesIO(pack(tar(member("big", bytes(60 * MIB)))))
    tracemalloc.start()
    try:
        unpacked(file, into, ContextLimits(ratio=100_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The densest zstd unpacks to 8 MiB at once, and the decoder puts that together from pieces.
    assert peak < 20 * MIB


def test_a_link_planted_in_place_of_a_folder_is_not_followed(into: Path) -> None:
    outside = into.parent / "outside"
    outside.mkdir()

    def plant() -> None:
        if (into / "folder").is_dir() and not (into / "folder").is_symlink():
            (into / "folder").rename(into.parent / "away")
            (into / "folder").symlink_to(outside)

    data = tar(folder("folder"), member("elsewhere/x"), member("folder/new", b"evil"))
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        unpack(io.BytesIO(data), into, limits=SMALL, tick=plant)
    assert not list(outside.iterdir())


_names = st.one_of(
    st.sampled_from(
        ["../x", "/x", "a/../../x", "a", "a/b", "a/b/", "b", "l", "l/x", "b/../x", "./a", "./"]
    ),
    st.text(st.sampled_from("ab./\\ é"), min_size=1, max_size=8),
)
_kinds = st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"S", b"x", b"L", b"K", b"g"])
_targets = st.sampled_from(["a", "l", "../outside", "/etc", "..", "b", "a/b", ""])
_contents = st.one_of(st.binary(max_size=20), st.integers(0, 70_000).map(os.urandom))


@settings(max_examples=300, deadline=None)
@given(
    members=st.lists(st.tuples(_names, _kinds, _targets, _contents), max_size=6),
    damage=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=3),
    name=st.sampled_from(list(PACKERS)),
    inside=st.booleans(),
)
def test_whatever_the_archive_nothing_is_written_outside_or_beyond_the_limits(
    members: list[tuple[str, bytes, str, bytes]],
    damage: list[tuple[int, int]],
    name: str,
    inside: bool,
) -> None:
    def damaged(data: bytes) -> bytes:
        made = bytearray(data)
        for at, value in damage:
            made[at % len(made)] = value
        return bytes(made)

    data = b"".join(
        header(name.encode()[:100], kind, len(content), target.encode()) + padded(content)
        for name, kind, target, content in members
    )
    data = PACKERS[name](damaged(data + END) if inside else data + END)
    data = data if inside else damaged(data)
    with TemporaryDirectory() as base:
        into = Path(base, "into")
        into.mkdir()
        with suppress(ContextRefused):
            unpacked(io.BytesIO(data), into)
        assert list(Path(base).iterdir()) == [into]
        found = list(into.rglob("*"))
        assert len(found) <= SMALL.members
        sizes = [path.lstat().st_size for path in found if stat.S_ISREG(path.lstat().st_mode)]
        assert sum(sizes) <= SMALL.total_bytes
        for path in found:
            assert stat.S_IFMT(path.lstat().st_mode) in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}


def test_the_deepest_folders_by_turns_take_as_many_calls_as_they_have_levels(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each member lies in another folder than the one before, as deep as is permitted."""
    opened = 0
    really = os.open

    def counted(*arguments: Any, **named: Any) -> int:
        nonlocal opened
        opened += 1
        return really(*arguments, **named)

    monkeypatch.setattr(os, "open", counted)
    count = 200
    parts = [raw_member(("ab"[n % 2] + "/") * (DEPTH - 1) + f"{n}") for n in range(count)]
    unpacked(raw(*parts), into, ContextLimits())
    assert opened <= (count + 2) * (DEPTH + 1)


def raw_member(name: str) -> bytes:
    return pax(path=name) + header(b"x", b"0")
