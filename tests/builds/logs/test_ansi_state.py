"""Colours that a line leaves on are those that the next one begins with."""

from datetime import UTC, datetime

import pytest

from builds.build_spec import Stream
from builds.logs.ansi_state import Colours
from builds.logs.lines import LogLine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lines(*texts: str, stream: Stream = "stdout", step: int = 1) -> list[LogLine]:
    return [LogLine(stream=stream, text=text, at=NOW, step=step) for text in texts]


def carried(*texts: str) -> list[str]:
    return [line.text for line in Colours().carry(lines(*texts))]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("\x1b[31mred", "\x1b[31mmore"),
        ("\x1b[1;31mred", "\x1b[1;31mmore"),
        ("\x1b[1m\x1b[91mred", "\x1b[1;91mmore"),
        ("\x1b[31mred\x1b[32m green", "\x1b[32mmore"),
        ("\x1b[38;5;208;1morange", "\x1b[38;5;208;1mmore"),
        ("\x1b[48;2;1;2;3;4mback", "\x1b[48;2;1;2;3;4mmore"),
        ("\x1b[38:5:208morange", "\x1b[38:5:208mmore"),
        ("\x1b[1;2;31mred\x1b[22m", "\x1b[31mmore"),
        ("\x1b[31;44mred\x1b[39m", "\x1b[44mmore"),
        ("\x1b[31mred\x1b[0m", "more"),
        ("\x1b[31mred\x1b[m", "more"),
        ("\x1b[31mred\x1b[00;01m", "\x1b[1mmore"),
        ("\x1b[3;4;7;9ma\x1b[23;24;27;29m", "more"),
        ("\x1b[38;5mcut off", "\x1b[38;5mmore"),
        ("\x1b[2Kno colour", "more"),
        ("\x1b[31", "more"),
    ],
)
def test_what_is_on_at_the_end_of_a_line_begins_the_next(first: str, second: str) -> None:
    assert carried(first, "more") == [first, second]


def test_colours_last_until_they_are_ended_over_any_chunking() -> None:
    colours = Colours()
    texts = [
        line.text
        for some in (["\x1b[31ma"], ["b", "", "c\x1b[0m"], ["d"])
        for line in colours.carry(lines(*some))
    ]
    assert texts == ["\x1b[31ma", "\x1b[31mb", "", "\x1b[31mc\x1b[0m", "d"]


def test_each_stream_has_its_own() -> None:
    colours = Colours()
    colours.carry(lines("\x1b[31mred"))
    [other] = colours.carry(lines("plain", stream="stderr"))
    [same] = colours.carry(lines("red"))
    assert (other.text, same.text) == ("plain", "\x1b[31mred")


def test_lines_without_colours_are_passed_on_as_they_are() -> None:
    given = lines("a", "b")
    assert Colours().carry(given) is given
