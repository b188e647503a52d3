"""Variables and quotes in a Dockerfile's words, expanded as a builder would."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+]")

Values = Mapping[str, str | None]
"""None: declared, but without a value."""


class UnsetVariable(Exception):
    """A variable without a value was needed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class UnreadableWord(Exception):
    """A word that is not closed, or uses an expansion that builders do not agree upon."""


def expand(text: str, values: Values, *, escape: str) -> str:
    """`$X`, `${X}`, `${X:-word}`, `${X:+word}` and both without the colon; quotes are removed."""
    return _Reader(text, values, escape).read(until="")


def split(text: str, *, escape: str) -> list[str]:
    """Words at unquoted blanks, quotes and escapes still in place."""
    words: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'":
            word += text[at : at + 2]
            at += 2
            continue
        if char in {"'", '"'} and quote in {"", char}:
            quote = "" if quote else char
        if char.isspace() and not quote:
            words, word = ([*words, word] if word else words), ""
        else:
            word += char
        at += 1
    return [*words, word] if word else words


class _Reader:
    def __init__(self, text: str, values: Values, escape: str) -> None:
        self._text = text
        self._values = values
        self._escape = escape
        self._at = 0

    def read(self, *, until: str, used: bool = True) -> str:
        """Up to `until`, or to the end. Where it is not `used`, unset variables do not matter."""
        result = ""
        quote = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == until and not quote:
                return result
            self._at += 1
            if char == self._escape and quote != "'":
                result += self._text[self._at : self._at + 1]
                self._at += 1
            elif char in {"'", '"'} and quote in {"", char}:
                quote = "" if quote else char
            elif char == "$" and quote != "'":
                result += self._variable(used=used)
            else:
                result += char
        if until or quote:
            raise UnreadableWord(f"{until or quote} is missing")
        return result

    def _variable(self, *, used: bool) -> str:
        if self._text[self._at : self._at + 1] != "{":
            return self._value(self._name(), used=used)
        self._at += 1
        name = self._name()
        operator = _OPERATOR.match(self._text, self._at)
        if operator is None:
            self._close()
            return self._value(name, used=used)
        self._at = operator.end()
        value = self._values.get(name)
        given = bool(value) if ":" in operator[0] else value is not None
        wanted = given == operator[0].endswith("+")
        word = self.read(until="}", used=used and wanted)
        self._close()
        if wanted:
            return word
        return "" if operator[0].endswith("+") else value or ""

    def _name(self) -> str:
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise UnreadableWord("a $ is not followed by a name")
        self._at = name.end()
        return name[0]

    def _close(self) -> None:
        if self._text[self._at : self._at + 1] != "}":
            raise UnreadableWord("only ${X}, ${X:-word} and ${X:+word} are known")
        self._at += 1

    def _value(self, name: str, *, used: bool) -> str:
        value = self._values.get(name)
        if value is None and used:
            raise UnsetVariable(name)
        return value or ""
