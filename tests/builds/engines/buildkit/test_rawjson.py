"""Progress objects are told apart from text in any chunking, and nothing printed can forge one."""

import json

import pytest

from builds.engines.buildkit.rawjson import MOST_OBJECT_BYTES, MOST_TEXT_BYTES, Malformed, RawJson

OBJECTS = [{"vertexes": [{"digest": "a", "name": "x\n}\n{\n"}]}, {"logs": [{"data": "e30="}]}]
TEXT = "Dockerfile:4\n--------------------\n   4 | >>> RUN { \n\nERROR: failed to solve: x\n"
BYTES = "".join(json.dumps(each, indent=2) + "\n" for each in OBJECTS).encode() + TEXT.encode()


def feed(reader: RawJson, pieces: list[bytes]) -> list[object]:
    return [value for piece in pieces for value in reader.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, len(BYTES)])
def test_any_chunking_gives_the_same_objects_and_text(size: int) -> None:
    reader = RawJson()
    found = []
    for at in range(0, len(BYTES), size):
        found += list(reader.feed(BYTES[at : at + size]))
    reader.close()
    assert found == OBJECTS
    assert reader.text == TEXT


def test_text_without_a_final_newline_is_kept() -> None:
    reader = RawJson()
    assert list(reader.feed(b"ERROR: no")) == []
    reader.close()
    assert reader.text == "ERROR: no"


def test_only_the_end_of_endless_text_is_kept() -> None:
    reader = RawJson()
    for _ in range(200):
        assert list(reader.feed(b"x" * 1_023 + b"\n")) == []
    assert len(reader.text) == MOST_TEXT_BYTES


def test_an_object_that_never_ends_is_refused() -> None:
    reader = RawJson()
    assert list(reader.feed(b"{\n")) == []
    line = b" " * (1 << 20) + b"\n"
    with pytest.raises(Malformed, match="more than"):
        feed(reader, [line] * ((MOST_OBJECT_BYTES >> 20) + 1))


def test_a_line_that_never_ends_is_refused() -> None:
    reader = RawJson()
    with pytest.raises(Malformed, match="more than"):
        feed(reader, [b" " * (1 << 20)] * ((MOST_OBJECT_BYTES >> 20) + 1))


def test_an_object_that_is_no_json_is_refused() -> None:
    with pytest.raises(Malformed, match="no progress object"):
        list(RawJson().feed(b"{\n  nonsense\n}\n"))
