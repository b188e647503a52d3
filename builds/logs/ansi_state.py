r"""Carries terminal styles that a line leaves switched on over to the next line.

On a terminal, a style lasts over line ends until it is switched off. Stored lines are read one by
one, from any number, so each must contain the styles that apply at its start. Only SGR sequences of
ECMA-48 are handled, such as `\x1b[1;31m`; other sequences are left unchanged.
"""

import re
from collections.abc import Sequence

from builds.build_spec import Stream
from builds.logs.lines import LogLine

_SGR = re.compile(r"\x1b\[([0-9:;]*)m")
_FRONT, _BACK = "38", "48"
_LENGTHS = {"5": 3, "2": 5}
"""Number of parameters in `38;5;n` and `38;2;r;g;b`."""
_STYLES = {str(code): str(code) for code in range(1, 10)}
_COLOURS = {
    **{str(code): _FRONT for code in (*range(30, 38), *range(90, 98))},
    **{str(code): _BACK for code in (*range(40, 48), *range(100, 108))},
}
_ENDS = {
    **{str(20 + code): (str(code),) for code in (3, 4, 5, 7, 8, 9)},
    "22": ("1", "2"),
    "39": (_FRONT,),
    "49": (_BACK,),
}


class Colours:
    """The active styles of one step, for each of its streams."""

    def __init__(self) -> None:
        self._on: dict[Stream, dict[str, str]] = {"stdout": {}, "stderr": {}}

    def carry(self, lines: Sequence[LogLine]) -> Sequence[LogLine]:
        """Prefix each line with the styles that earlier lines of its stream left active."""
        if not any(self._on.values()) and not any("\x1b[" in line.text for line in lines):
            return lines
        return [self._carried(line) for line in lines]

    def _carried(self, line: LogLine) -> LogLine:
        on = self._on[line.stream]
        before = ";".join(on.values())
        for found in _SGR.finditer(line.text):
            _apply(on, found[1].split(";"))
        return line._replace(text=f"\x1b[{before}m{line.text}") if before and line.text else line


def _apply(on: dict[str, str], parts: list[str]) -> None:
    at = 0
    while at < len(parts):
        code, length = parts[at].lstrip("0"), 1
        kind = code.partition(":")[0]
        if not code:
            on.clear()
        elif kind in {_FRONT, _BACK}:
            if kind == code:
                length = _LENGTHS.get(parts[at + 1] if at + 1 < len(parts) else "", len(parts))
            on[kind] = ";".join(parts[at : at + length])
        elif code in _ENDS:
            for ended in _ENDS[code]:
                on.pop(ended, None)
        elif group := _STYLES.get(kind) or _COLOURS.get(code):
            on[group] = code
        at += length
