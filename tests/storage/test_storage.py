"""A folder and a bucket keep files alike: what is stored is read back, what is wrong is told."""

import io
import os
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from common.outages import StorageAway
from config.env import BadEnvironment, BucketPlace, load
from storage.bucket import LEAST, Bucket, Ranges
from storage.folder import Folder
from tests.s3 import BUCKET, KEY, S3, SECRET, running_s3

CONTENT = random.Random(1).randbytes(30 * LEAST + 77)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def bucket(endpoint: str, **options: Any) -> Bucket:
    made = {"bucket_name": BUCKET, "location": "below/here", "region": "us-east-1"}
    made |= {"access_key": KEY, "secret_key": SECRET}
    return Bucket(endpoint=endpoint, **{**made, **options})


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "folder":
        return Folder(location=tmp_path / "files")
    return bucket(request.getfixturevalue("s3").endpoint)


def test_what_is_stored_is_read_back_from_anywhere_in_it(files: Any, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(CONTENT)
    with (tmp_path / "sent").open("rb") as sent:
        key = files.save("contexts/one.zip", File(sent))
    assert key == "contexts/one.zip"
    chance = random.Random(2)
    with files.open(key) as file:
        assert file.read() == CONTENT
        for _ in range(20):
            start, size = chance.randrange(len(CONTENT)), chance.randrange(1, LEAST * 4)
            assert file.seek(start) == start
            assert file.read(size) == CONTENT[start : start + size]
        assert file.seek(-100, os.SEEK_END) == len(CONTENT) - 100
        assert file.read() == CONTENT[-100:]
    with files.open(key) as file:
        assert b"".join(file.chunks(10_000)) == CONTENT


def test_an_empty_file_is_one_too(files: Any) -> None:
    key = files.save("logs/empty", ContentFile(b""))
    with files.open(key) as file:
        assert file.read() == b""


def test_what_is_not_there_is_a_missing_file_and_may_be_deleted(files: Any) -> None:
    with pytest.raises(FileNotFoundError), files.open("contexts/nothing.zip") as file:
        file.read(1)
    files.delete("contexts/nothing.zip")
    key = files.save("contexts/gone.zip", ContentFile(b"x"))
    files.delete(key)
    with pytest.raises(FileNotFoundError), files.open(key) as file:
        file.seek(0, os.SEEK_END)


def test_what_is_old_is_told_by_folder(files: Any) -> None:
    assert list(files.old("nowhere", before=timezone.now())) == []
    for key in ("old/one.zip", "old/two.zip", "older/three.zip"):
        files.save(key, ContentFile(b"x"))
    soon = timezone.now() + timedelta(hours=1)
    assert set(files.old("old", before=soon)) == {"old/one.zip", "old/two.zip"}
    assert list(files.old("old", before=timezone.now() - timedelta(hours=1))) == []


def test_it_answers(files: Any) -> None:
    files.answer()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Folder(location=tmp_path / "file" / "files").answer()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bucket_name": "another"}, "404|Not Found|NoSuchBucket"),
        ({"secret_key": "wrong"}, "403|Forbidden"),
    ],
)
def test_a_bucket_that_is_not_to_be_had_is_told(
    s3: S3, options: dict[str, str], message: str
) -> None:
    with pytest.raises((StorageAway, FileNotFoundError), match=message):
        bucket(s3.endpoint, **options).answer()


def test_a_server_that_is_away_is_told_whatever_was_asked(tmp_path: Path) -> None:
    with running_s3(tmp_path) as server:
        files = bucket(server.endpoint)
        key = files.save("contexts/one.zip", ContentFile(CONTENT))
        opened = files.open(key)
        assert opened.read(10) == CONTENT[:10]
    for ask in (
        files.answer,
        lambda: opened.seek(2 * LEAST) and opened.read(10),
        lambda: files.open(key).read(),
        lambda: files.open(key).seek(0, os.SEEK_END),
        lambda: files.save("contexts/two.zip", ContentFile(b"x")),
        lambda: files.delete(key),
        lambda: list(files.old("contexts", before=timezone.now())),
    ):
        with pytest.raises(StorageAway, match=r"127\.0\.0\.1"):
            ask()


def noted(content: bytes) -> tuple[io.BufferedReader, list[tuple[int, int]]]:
    """A file that is read by ranges, and those that were asked for."""
    asked: list[tuple[int, int]] = []

    def get(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return content[start:stop]

    return io.BufferedReader(Ranges(get, lambda: len(content)), LEAST), asked


def test_what_is_passed_over_is_not_fetched() -> None:
    file, asked = noted(CONTENT)
    file.seek(-20, os.SEEK_END)
    assert file.read(20) == CONTENT[-20:]
    file.seek(100)
    for at in (100, 150):
        assert file.read(50) == CONTENT[at : at + 50]
    assert [start for start, _ in asked] == [len(CONTENT) - 20, 100]
    assert sum(stop - start for start, stop in asked) == 2 * LEAST


def test_what_is_read_on_end_is_fetched_in_few_requests() -> None:
    content = CONTENT * 20
    file, asked = noted(content)
    assert b"".join(iter(lambda: file.read(10_000), b"")) == content
    assert len(asked) < 15


@examples(max_examples=200)
@given(
    content=st.binary(max_size=300),
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(-400, 400), st.integers(-1, 400))),
)
def test_ranges_are_read_as_a_file_is(content: bytes, moves: list[tuple[int, int, int]]) -> None:
    one, _ = noted(content)
    other = io.BytesIO(content)
    for whence, offset, size in moves:
        if whence == 0 and offset < 0:
            continue
        if other.tell() + offset < 0 and whence == 1:
            continue
        if len(content) + offset < 0 and whence == 2:
            continue
        assert one.seek(offset, whence) == other.seek(offset, whence)
        assert one.read(size) == other.read(size)


def test_a_bucket_is_told_by_its_address() -> None:
    told = "s3://files/slipway/?endpoint=https://minio.example:9000&region=eu-1"
    assert load({"SLIPWAY_STORAGE": told}).storage == BucketPlace(
        name="files", prefix="slipway", endpoint="https://minio.example:9000", region="eu-1"
    )
    assert load({"SLIPWAY_STORAGE": "s3://files"}).storage == BucketPlace(name="files")
    assert load({}).storage is None
    for wrong in ("files", "http://files/x", "s3://", "s3://files?key=secret"):
        with pytest.raises(BadEnvironment, match=r"SLIPWAY_STORAGE=.* takes s3://bucket"):
            load({"SLIPWAY_STORAGE": wrong})
