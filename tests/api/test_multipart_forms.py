"""Forms are read in one pass, without loss, and within limits."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import InMemoryUploadedFile, TemporaryUploadedFile
from django.test import RequestFactory
from rest_framework.exceptions import ParseError
from rest_framework.parsers import DataAndFiles

from api import multipart_forms
from api.multipart_forms import CHUNK_BYTES, MultipartParser

BOUNDARY = "x-boundary"
END = f"--{BOUNDARY}--\r\n".encode()


class Stream(BytesIO):
    """Counts how often and how much is read."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.reads: list[int] = []

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.reads.append(len(data))
        return data


def part(name: str, content: bytes, more: str = "", head: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"{more}'
    return f"--{BOUNDARY}\r\n{disposition}\r\n{head}\r\n".encode() + content + b"\r\n"


def file(name: str, content: bytes) -> bytes:
    return part(name, content, '; filename="../../etc/passwd"')


def parsed(body: bytes, boundary: str = BOUNDARY) -> "DataAndFiles[Any, Any]":
    return parsed_stream(Stream(body), boundary)


def parsed_stream(stream: Stream, boundary: str = BOUNDARY) -> "DataAndFiles[Any, Any]":
    content_type = f"multipart/form-data; boundary={boundary}"
    size = len(stream.getvalue())
    request = RequestFactory().post("/", CONTENT_LENGTH=size)
    return MultipartParser().parse(stream, content_type, {"request": request})


def test_fields_and_files_are_what_was_sent() -> None:
    found = parsed(
        part("tag", b"1") + part("tag", b"") + file("context", b"\r\n--x-boundar\0") + END
    )
    assert found.data.getlist("tag") == ["1", ""]
    [context] = found.files.getlist("context")
    assert (context.read(), context.size, context.name) == (b"\r\n--x-boundar\0", 14, "file")


def test_text_that_is_no_utf8_can_be_told() -> None:
    assert parsed(part("a", "é".encode()) + part("b", b"\xff") + END).data.dict() == {
        "a": "é",
        "b": "\udcff",
    }


def test_a_form_that_is_large_keeps_its_files_on_the_disk(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 2_000
    small, large = (parsed(file("a", b"a" * size) + END).files["a"] for size in (1_000, 3_000))
    assert isinstance(small, InMemoryUploadedFile)
    assert isinstance(large, TemporaryUploadedFile)
    assert (large.read(), large.size) == (b"a" * 3_000, 3_000)
    large.close()
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_name_is_left_out() -> None:
    found = parsed(part("a", b"a", '; filename=""') + END)
    assert not found.files
    assert not found.data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        part("a", b"a"),
        part("a", b"a") + file("b", b"b")[:-2],
        part("a", b"a", head="Content-Transfer-Encoding: base64\r\n") + END,
        part("a", b"a", head="no header\r\n") + END,
        part("a", b"a", head="X: " + 10_000 * "x" + "\r\n") + END,
        part("a", b"a", head=100 * "X: x\r\n") + END,
        f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\na\r\n".encode() + END,
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(ParseError):
        parsed(body)


@pytest.mark.parametrize("boundary", ["", "é"])
def test_a_form_needs_a_boundary(boundary: str) -> None:
    with pytest.raises(ParseError):
        parsed(part("a", b"a") + END, boundary)


def test_there_are_limits_and_nothing_is_left_behind(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = settings.DATA_UPLOAD_MAX_NUMBER_FILES = 3
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert len(parsed(3 * part("a", b"a") + END).data.getlist("a")) == 3
    with pytest.raises(TooManyFieldsSent):
        parsed(file("f", b"f") + 4 * part("a", b"a") + END)
    with pytest.raises(TooManyFilesSent):
        parsed(4 * file("a", b"a") + END)
    with pytest.raises(RequestDataTooBig):
        parsed(file("f", b"f") + part("a", 60 * b"a") + part("b", 60 * b"b") + END)
    with pytest.raises(ParseError):
        parsed(file("f", b"f") + b"nonsense")
    assert not list(tmp_path.iterdir())


def test_text_beyond_the_limit_is_not_read(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    stream = Stream(part("a", 20 * CHUNK_BYTES * b"a") + END)
    with pytest.raises(RequestDataTooBig):
        parsed_stream(stream)
    assert sum(stream.reads) <= 2 * CHUNK_BYTES


@pytest.mark.parametrize(
    "unit", [b"\r", b"\r\n--x-boundar", b"\r\n--x-boundary"[:-1] + b"z", b"\n"]
)
def test_hostile_content_takes_work_in_proportion_to_its_size(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is read once and given on once, in pieces about as large as what is read."""
    size = 8 * CHUNK_BYTES
    pieces: list[int] = []

    class Counting(multipart_forms._Form):
        def take(self, event: Any) -> None:
            if isinstance(event, bytes):
                pieces.append(len(event))
            super().take(event)

    monkeypatch.setattr(multipart_forms, "_Form", Counting)
    content = (unit * (size // len(unit) + 1))[:size]
    stream = Stream(file("a", content) + END)
    assert parsed_stream(stream).files["a"].read() == content
    assert sum(stream.reads) == len(stream.getvalue())
    assert sum(pieces) == size
    assert len(pieces) <= 2 * len(stream.reads)
