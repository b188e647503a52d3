"""Parser of `multipart/form-data`: one pass, linear time, lossless text."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import InMemoryUploadedFile, TemporaryUploadedFile
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles

CHUNK_BYTES = 256 * 1024
Upload = InMemoryUploadedFile | TemporaryUploadedFile
PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


class MultipartParser(BaseParser):
    """Parses a form with the limits of Django's own parser, which takes ten times as long.

    Bytes that are not UTF-8 become surrogates, which fields reject. With replacement characters,
    Slipway would build a Dockerfile that differs from the one sent. Raises ParseError,
    RequestDataTooBig, TooManyFieldsSent or TooManyFilesSent.
    """

    media_type = "multipart/form-data"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> "DataAndFiles[Any, Any]":
        _, options = parse_options_header(media_type or "")
        size = int(parser_context["request"].META.get("CONTENT_LENGTH") or 0)
        form = _Form(in_memory=size <= settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
        try:
            for event in _events(stream, options.get("boundary", "")):
                form.take(event)
        except MultipartError as problem:
            form.close()
            raise ParseError(f"Multipart form parse error - {problem}") from problem
        except BaseException:
            form.close()
            raise
        return DataAndFiles(form.data, form.files)


def _events(stream: Any, boundary: str) -> Iterator[MultipartSegment | bytes | None]:
    """For each part: its headers, its content in chunks, then None."""
    with PushMultipartParser(boundary.encode("latin-1")) as parser:
        while not parser.closed:
            yield from parser.parse(stream.read(CHUNK_BYTES))


class _Form:
    """The fields and files parsed so far."""

    def __init__(self, *, in_memory: bool) -> None:
        self.data = QueryDict(mutable=True)
        self.files: MultiValueDict[str, Upload] = MultiValueDict()
        self._in_memory = in_memory
        self._fields = self._field_bytes = self._files = 0
        self._name = ""
        self._text: list[bytes] | None = None
        self._file: Upload | None = None

    def take(self, event: MultipartSegment | bytes | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None and self._text is not None:
            self._count_text(len(event))
            self._text.append(event)
        elif event is not None and self._file is not None:
            self._file.write(event)
        elif event is None:
            self._end()

    def close(self) -> None:
        for file in [self._file, *(each for _, files in self.files.lists() for each in files)]:
            if file is not None:
                file.close()

    def _begin(self, part: MultipartSegment) -> None:
        if part.header("Content-Transfer-Encoding", "").strip().lower() not in PLAIN_ENCODINGS:
            raise ParseError("Multipart form parse error - a part is encoded")
        self._name, self._text, self._file = part.name.strip(), None, None
        if part.filename is None:
            self._fields += 1
            if self._fields > settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:
                raise TooManyFieldsSent("The form has too many fields.")
            self._count_text(len(self._name))
            self._text = []
        elif part.filename:
            self._files += 1
            if self._files > settings.DATA_UPLOAD_MAX_NUMBER_FILES:
                raise TooManyFilesSent("The form has too many files.")
            self._file = self._new_file()

    def _new_file(self) -> Upload:
        # The client's file name and content type are not used, and some names are dangerous.
        kind = "application/octet-stream"
        if self._in_memory:
            return InMemoryUploadedFile(BytesIO(), None, "file", kind, 0, None)
        return TemporaryUploadedFile("file", kind, 0, None)

    def _count_text(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
            raise RequestDataTooBig(f"The text fields of a form take at most {most} bytes.")

    def _end(self) -> None:
        if self._text is not None:
            text = b"".join(self._text).decode(errors="surrogateescape")
            self.data.appendlist(self._name, text)
        elif self._file is not None:
            self._file.size = self._file.tell()
            self._file.seek(0)
            self.files.appendlist(self._name, self._file)
        self._text = self._file = None
