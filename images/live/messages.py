"""The messages of the websockets, as described in docs/websocket.md."""

from typing import Any, Literal, NotRequired, TypedDict

import orjson

from builds.logs.cursor import Cursor, Lines
from builds.logs.follow import Done, Standing
from builds.logs.lines import LogLine
from builds.logs.steps import STEP_CHARACTERS
from builds.logs.store import microseconds
from builds.status import Status, state_word

MESSAGE_CHARACTERS = 32 * 1024
MESSAGE_LINES = 500

StepRow = tuple[int, int, str, int]
"""A heading, as in Build.log_steps: step, line, text, microseconds since 1970."""
LineRow = tuple[str, str, int, int | None]
"""Stream, text, microseconds since 1970, step."""


class LinesMessage(TypedDict):
    type: Literal["lines"]
    attempt: int
    first: int
    next: str
    lines: list[LineRow]
    headings: NotRequired[list[StepRow]]
    """The headings among these lines."""


class StatusMessage(TypedDict):
    type: Literal["status"]
    attempt: int
    state: str
    status: str
    step: int
    steps: int
    step_states: list[list[Any]]
    """`[number, state, started, ended]` of the steps that changed since the last such message."""


class DoneMessage(TypedDict):
    type: Literal["done"]
    attempt: int
    state: str
    status: str
    cursor: str


class ImageMessage(TypedDict):
    type: Literal["image"]
    image_id: str
    attempt: int
    state: str
    status: str
    step: int
    steps: int
    position: int | None
    """Place in the queue, from 1. None if the build does not wait, or its place is unknown."""
    waiting_for: str


class GoneMessage(TypedDict):
    type: Literal["gone"]
    image_id: str


def row(line: LogLine) -> LineRow:
    return line.stream, line.text, microseconds(line), line.step


def lines_messages(lines: Lines) -> list[tuple[Cursor, str]]:
    """The messages for these lines, each with the cursor after it."""
    found: list[tuple[Cursor, str]] = []
    some: list[LogLine] = []
    size = 0
    at = lines.start.line

    def close() -> None:
        end = Cursor(lines.start.attempt, at + (lines.gap or len(some)))
        message: LinesMessage = {
            "type": "lines",
            "attempt": end.attempt,
            "first": at,
            "next": str(end),
            "lines": [row(each) for each in some],
        }
        if any(each.heading for each in some):
            message["headings"] = [
                (each.step or 0, number, each.text[:STEP_CHARACTERS], microseconds(each))
                for number, each in enumerate(some, at)
                if each.heading
            ]
        found.append((end, orjson.dumps(message).decode()))

    for line in lines.lines:
        if some and (size + len(line.text) > MESSAGE_CHARACTERS or len(some) >= MESSAGE_LINES):
            close()
            at, some, size = at + len(some), [], 0
        some.append(line)
        size += len(line.text)
    close()
    return found


def status_message(standing: Standing) -> StatusMessage:
    head = standing.head
    return {
        "type": "status",
        "attempt": standing.attempt,
        "state": state_word(head.status),
        "status": head.api_status,
        "step": head.step,
        "steps": head.steps,
        "step_states": standing.steps,
    }


def done_message(done: Done) -> DoneMessage:
    return {
        "type": "done",
        "attempt": done.cursor.attempt,
        "state": state_word(done.status or Status.FAILED),
        "status": done.api_status,
        "cursor": str(done.cursor),
    }
