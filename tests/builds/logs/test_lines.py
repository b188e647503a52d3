"""What a line is, that no chunking changes it, and when an unfinished one is shown."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.build_spec import Stream
from builds.logs.lines import CUT, LINE_CHARACTERS, LineSplitter, LogLine

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def lines(*chunks: bytes) -> list[str]:
    splitter = LineSplitter()
    found = [line for chunk in chunks for line in splitter.feed("stdout", chunk, START)]
    return [line.text for line in found + splitter.flush()]


def texts(found: list[LogLine]) -> list[str]:
    return [line.text for line in found]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"\n", [""]),
        (b"    indented\t\n", ["    indented\t"]),
        (b"dos\r\nends\r\n", ["dos", "ends"]),
        (b"10%\r50%\r100%\n", ["100%"]),
        (b"10%\r50%\r", ["50%"]),
        (b"kept\r\r\r\n", ["kept"]),
        (b"\r\n", [""]),
        (b"nul\0 \0gone\n", ["nul gone"]),
        (b"cr\0\r\0\n", ["cr"]),
        (b"bad \xff\xfe utf8 \xe2\x82\n", ["bad \ufffd\ufffd utf8 \ufffd"]),
        (b"\xe2\x82", ["\ufffd"]),
        ("grün €\n".encode(), ["grün €"]),
        ("a\u2028b\x0bc\x0cd\x85e\n".encode(), ["a\u2028b\x0bc\x0cd\x85e"]),
        (b"\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
    ],
)
def test_what_a_line_is(data: bytes, expected: list[str]) -> None:
    assert lines(data) == expected
    assert lines(*(data[at : at + 1] for at in range(len(data)))) == expected


@pytest.mark.parametrize("size", [LINE_CHARACTERS, LINE_CHARACTERS + 1, 3 * LINE_CHARACTERS + 5])
def test_a_long_line_is_cut_and_marked(size: int) -> None:
    data = b"x" * size + b"\nnext\n"
    found = lines(data)
    assert lines(*(data[at : at + 5_000] for at in range(0, len(data), 5_000))) == found
    assert lines(data[:size], data[size:]) == found
    *cut, last = found[:-1]
    assert found[-1] == "next"
    assert all(piece == "x" * LINE_CHARACTERS + CUT for piece in cut)
    assert len(cut) * LINE_CHARACTERS + len(last) == size
    assert 0 < len(last) <= LINE_CHARACTERS


def test_a_line_without_an_end_takes_no_memory() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        splitter.feed("stdout", b"x" * 65_536, START)
        splitter.feed("stderr", b"x" * 1_000 + b"\r", START)
    held = [len(p._text) + len(p._drawn_over) for p in splitter._partials.values()]
    assert max(held) <= 2 * LINE_CHARACTERS


def test_lines_carry_their_stream_and_the_time_of_their_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed("stderr", b"be", after(0)) == []
    assert splitter.feed("stderr", b"gun\nnext", after(0.5)) == [
        LogLine(stream="stderr", text="begun", at=after(0.5))
    ]
    assert splitter.flush() == [LogLine(stream="stderr", text="next", at=after(0.5))]
    assert splitter.flush() == []


def test_the_streams_are_interleaved_as_they_came_and_never_mixed() -> None:
    splitter = LineSplitter()
    found = [
        *splitter.feed("stdout", b"out 1\nout", START),
        *splitter.feed("stderr", b"err 1\nerr", START),
        *splitter.feed("stdout", b" 2\n", START),
        *splitter.feed("stderr", b" 2\n", START),
    ]
    assert texts(found) == ["out 1", "err 1", "out 2", "err 2"]


# Unfinished lines.


def test_a_prompt_without_a_newline_is_shown_after_a_second() -> None:
    splitter = LineSplitter()
    assert splitter.feed("stdout", b"Downloading... ", after(0)) == []
    assert splitter.feed("stdout", b"", after(0.9)) == []
    assert texts(splitter.feed("stdout", b"", after(1.0))) == ["Downloading... "]
    assert splitter.feed("stdout", b"", after(9)) == []
    assert texts(splitter.feed("stdout", b"done\n", after(10))) == ["done"]


def test_a_tick_on_one_stream_shows_what_waits_on_the_other() -> None:
    splitter = LineSplitter()
    splitter.feed("stderr", b"Password: ", after(0))
    assert splitter.feed("stdout", b"", after(1)) == [
        LogLine(stream="stderr", text="Password: ", at=after(1))
    ]


def test_the_newline_of_a_line_already_shown_is_no_line() -> None:
    splitter = LineSplitter()
    splitter.feed("stdout", b"waiting", after(0))
    splitter.feed("stdout", b"", after(1))
    assert texts(splitter.feed("stdout", b"\n\nnext\n", after(2))) == ["", "next"]


def test_a_row_of_dots_is_seen_to_grow() -> None:
    splitter = LineSplitter()
    found = [line for n in range(50) for line in splitter.feed("stdout", b".", after(n / 10))]
    assert "".join(texts(found)) == "." * sum(len(line.text) for line in found)
    assert 3 <= len(found) <= 5


def test_a_progress_bar_is_seen_to_live_and_does_not_flood() -> None:
    splitter = LineSplitter()
    found = []
    for n in range(1_000):
        found += splitter.feed("stdout", b"\r%d%%" % (n // 10), after(n / 10))
    found += splitter.feed("stdout", b"\r100%\n", after(100))
    assert 9 <= len(found) <= 11
    assert found[-1].text == "100%"


def test_half_a_character_is_not_shown_early() -> None:
    splitter = LineSplitter()
    splitter.feed("stdout", b"\xe2\x82", after(0))
    assert splitter.feed("stdout", b"", after(5)) == []
    assert texts(splitter.feed("stdout", b"\xac\n", after(6))) == ["€"]


def test_lines_are_of_the_step_that_wrote_them_whatever_they_look_like() -> None:
    splitter = LineSplitter(3)
    found = splitter.feed("stdout", b"one\nSTEP 9/9: RUN x\n[1/2] STEP 1/2: y\nhalf", START)
    found += splitter.flush()
    assert [line.step for line in found] == [3, 3, 3, 3]
    assert not any(line.heading for line in found)


def test_a_full_line_that_ends_within_a_letter_is_kept() -> None:
    splitter = LineSplitter()
    found = splitter.feed("stdout", b"a" * LINE_CHARACTERS + b"\xc3", START)
    found += splitter.flush()
    assert [len(line.text) for line in found] == [LINE_CHARACTERS + 1, 1]


_pieces = st.one_of(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"\0", b"STEP 1/2: x\n", b"a" * LINE_CHARACTERS]),
    st.text(max_size=10).map(str.encode),
    st.binary(max_size=5),
)
_streams: st.SearchStrategy[Stream] = st.sampled_from(["stdout", "stderr"])


@given(
    pieces=st.lists(_pieces, max_size=30),
    borders=st.lists(st.integers(0, 100_000), max_size=12),
)
def test_any_chunking_gives_the_same_lines(pieces: list[bytes], borders: list[int]) -> None:
    data = b"".join(pieces)
    places = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    chunks = [data[start:stop] for start, stop in pairwise(places)]
    assert lines(*chunks) == lines(data)


@given(st.lists(st.tuples(_streams, _pieces, st.floats(0, 3)), max_size=30))
def test_no_text_is_lost_or_doubled_whatever_the_times(
    chunks: list[tuple[Stream, bytes, float]],
) -> None:
    splitter = LineSplitter()
    clock = 0.0
    found: list[LogLine] = []
    sent: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
    for stream, data, wait in chunks:
        clock += wait
        without_redraws = data.replace(b"\r", b"")
        sent[stream] += without_redraws
        found += splitter.feed(stream, without_redraws, after(clock))
    found += splitter.flush()
    for stream, data in sent.items():
        whole = data.decode(errors="replace").replace("\0", "").replace("\n", "")
        shown = "".join(
            line.text[:-1] if len(line.text) > LINE_CHARACTERS else line.text
            for line in found
            if line.stream == stream
        )
        assert shown == whole
    assert all("\n" not in line.text and "\r" not in line.text for line in found)
