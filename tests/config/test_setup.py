from pathlib import Path

import pytest

from config import setup


def test_a_data_directory_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with setup.lock(tmp_path), pytest.raises(setup.InUse, match="in use by another Slipway"):
        setup.lock(tmp_path)
    setup.lock(tmp_path).close()


def test_what_killed_uploads_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "tmpabc.upload.zip").write_bytes(b"x")
    setup.clear_spool(tmp_path)
    assert not list(tmp_path.iterdir())
