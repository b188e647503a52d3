"""What a sandbox prints takes a bounded place on the disk, and the newest is kept."""

import os
from pathlib import Path

import pytest

from helper.output_log import CUT, KEPT_BYTES, MAX_BYTES, OutputLog


@pytest.mark.parametrize("flags", [0, os.O_APPEND])
def test_the_file_stays_below_its_bound_and_ends_with_the_newest(
    tmp_path: Path, flags: int
) -> None:
    path = tmp_path / "log"
    log = OutputLog(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600))
    log.write(b"first\n")
    assert path.read_bytes() == b"first\n"
    for number in range(3 * MAX_BYTES // 1024):
        log.write(f"{number:06}".encode().ljust(1024, b"."))
        assert path.stat().st_size <= MAX_BYTES
    text = path.read_bytes()
    assert text.startswith(CUT)
    assert text.endswith(f"{number:06}".encode().ljust(1024, b"."))
    assert len(text) > KEPT_BYTES
    log.close()
    log.write(b"late")
    assert path.read_bytes() == text


def test_a_full_disk_stops_nothing() -> None:
    log = OutputLog(os.open("/dev/full", os.O_WRONLY))
    log.write(b"lost")
    log.close()
