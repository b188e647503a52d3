import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest

from startup import bootstrap, data_directory


def test_a_data_directory_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with (
        data_directory.lock(tmp_path),
        pytest.raises(data_directory.InUse, match="in use by another Slipway"),
    ):
        data_directory.lock(tmp_path)
    data_directory.lock(tmp_path).close()


def test_what_killed_uploads_left_is_removed(tmp_path: Path) -> None:
    left, under_way = tmp_path / "tmpabc.upload.zip", tmp_path / "tmpdef.upload.zip"
    for each in (left, under_way):
        each.write_bytes(b"x")
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    bootstrap.clear_spool(tmp_path, untouched=timedelta(hours=1))
    assert list(tmp_path.iterdir()) == [under_way]
    bootstrap.clear_spool(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named_with_what_to_set() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(data_directory.InUse, match=f"127.0.0.1:{port}.*: set SLIPWAY_PORT"):
            bootstrap.check_port("127.0.0.1", port, "SLIPWAY_PORT")
    bootstrap.check_port("127.0.0.1", port, "SLIPWAY_PORT")
