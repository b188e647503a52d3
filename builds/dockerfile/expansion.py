"""Expands variables and quotes by the rules of BuildKit 0.13 (`frontend/dockerfile/shell`).

All input and output counts against a budget, so that a few bytes of text cannot use gigabytes of
memory or minutes of CPU time.
"""

import re
from collections.abc import Iterator, Mapping

MAX_VALUE_CHARACTERS = 64 * 1024
MAX_DEPTH = 50
"""Levels of nested `${A:-${B:-…}}`. Each level uses a few frames of Python's stack."""
BUDGET = 8 * 1024 * 1024
"""Units of work for one Dockerfile. One of the largest size needs about two per byte."""
_STATE_UNITS = 16
"""Units for one step of a pattern. Copying a character is one unit."""
SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The characters of Go's unicode.IsSpace, as the content of a regular expression's class."""
SPACES = SPACE.replace("\u2000-\u200a", "".join(map(chr, range(0x2000, 0x200B))))
"""The same as single characters, for `str.strip`."""
_SPACE_RUN = re.compile(f"[{SPACE}]+")
_PLAIN = {escape: re.compile(rf"""[^'"${re.escape(escape)}}}/]+""") for escape in "\\`"}
_SPECIAL_NAMES = frozenset("@*#?-$!")


class Unreadable(ValueError):
    """BuildKit cannot expand the text either. The message is a clause that says why."""


class EmptyPattern(Unreadable):
    """`${X#}` or `${X%}`: dockerd 26.1 crashes on it."""


class TooMuchWork(ValueError):
    """A value, the nesting or the total work exceeds its limit. The message is a clause."""


class Budget:
    """The remaining units of work for one Dockerfile. `spend` raises TooMuchWork."""

    def __init__(self, units: int = BUDGET) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise TooMuchWork("its variables take too much work to expand")


class Lexer:
    """Expands one text in a single pass. Use each instance once.

    `values` are the variables. `raw_quotes` and `raw_escapes` keep quotes and escapes in the
    result. With `keep_unset`, unset variables stay as written, as in RUN; without it they become
    empty, as in FROM and ENV. Without `quotes`, quotes have no meaning, as in heredocs.
    """

    def __init__(
        self,
        text: str,
        values: Mapping[str, str],
        budget: Budget,
        *,
        escape: str = "\\",
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        keep_unset: bool = False,
        quotes: bool = True,
    ) -> None:
        self.without_value: dict[str, None] = {}
        """Variables that were used and are unset or empty, in order."""
        self._text = text.removeprefix("\ufeff")
        self._values = values
        self._budget = budget
        self._escape = escape
        self._plain = _PLAIN[escape]
        self._raw_quotes = raw_quotes
        self._raw_escapes = raw_escapes
        self._keep_unset = keep_unset
        self._quotes = quotes
        self._at = 0
        self._depth = 0

    def word(self) -> str:
        """The expanded text as one value. Raises Unreadable or TooMuchWork."""
        return "".join(text for text, _ in self._read(""))

    def words(self) -> list[str]:
        """The expanded text, split at spaces that are neither quoted nor escaped.

        Raises Unreadable or TooMuchWork.
        """
        words: list[str] = []
        word: list[str] = []
        for text, cut in self._read(""):
            pieces = _SPACE_RUN.split(text) if cut else [text]
            word.append(pieces[0])
            for piece in pieces[1:]:
                words.append("".join(word))
                word = [piece]
        words.append("".join(word))
        return [word for word in words if word]

    def _read(self, stop: str) -> Iterator[tuple[str, bool]]:
        """Pieces up to `stop` or the end. The flag says whether spaces in a piece end a word."""
        length = 0
        while (char := self._peek()) and char != stop:
            cut = True
            if char == "$":
                piece = self._variable()
            elif char in "'\"" and self._quotes:
                piece, cut = self._quoted(char), False
            elif char == self._escape:
                piece, cut = self._escaped(), False
            else:
                plain = self._plain.match(self._text, self._at)
                # "}" and "/" are plain here unless they are the stop.
                piece = plain[0] if plain else char
                self._at += len(piece)
            length += len(piece)
            self._spend(1 + len(piece), length)
            yield piece, cut
        if stop:
            if not char:
                raise Unreadable(f"{stop} is missing")
            self._at += 1

    def _nested(self, stop: str, *, raw_escapes: bool) -> str:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooMuchWork(f"variables are nested more than {MAX_DEPTH} deep")
        before, self._raw_escapes = self._raw_escapes, raw_escapes
        text = "".join(text for text, _ in self._read(stop))
        self._raw_escapes = before
        self._depth -= 1
        return text

    def _spend(self, units: int, length: int) -> None:
        self._budget.spend(units)
        if length > MAX_VALUE_CHARACTERS and not self._keep_unset:
            raise TooMuchWork(f"a value becomes longer than {MAX_VALUE_CHARACTERS} characters")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _escaped(self) -> str:
        escape, char = self._next(), self._next()
        return f"{escape}{char}" if self._raw_escapes else char

    def _quoted(self, quote: str) -> str:
        self._at += 1
        if quote == "'":
            end = self._text.find("'", self._at)
            if end < 0:
                raise Unreadable("a single quote is not closed")
            text, self._at = self._text[self._at : end], end + 1
        else:
            text = "".join(self._double_quoted())
        return f"{quote}{text}{quote}" if self._raw_quotes else text

    def _double_quoted(self) -> Iterator[str]:
        length = 0
        while (char := self._peek()) != '"':
            if not char:
                raise Unreadable("a double quote is not closed")
            if char == "$":
                piece = self._variable()
            elif char == self._escape:
                piece = self._escaped_in_quotes()
            else:
                plain = self._plain.match(self._text, self._at)
                piece = plain[0] if plain else char
                self._at += len(piece)
            length += len(piece)
            self._spend(1 + len(piece), length)
            yield piece
        self._at += 1

    def _escaped_in_quotes(self) -> str:
        escape, char = self._next(), self._peek()
        kept = escape if self._raw_escapes else ""
        if not char:
            return kept
        if char in {'"', "$", self._escape}:
            self._at += 1
            return kept + char
        return kept + escape

    def _variable(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            if self._keep_unset and name not in self._values:
                return f"${name}"
            return self._value(name)
        self._at += 1
        if not self._peek():
            raise Unreadable("} is missing")
        if self._peek() in "{}:":
            raise Unreadable("${ is not followed by a name")
        name = self._name()
        operator = self._next()
        if operator == "}":
            unset = self._keep_unset and name not in self._values
            return f"${{{name}}}" if unset else self._value(name)
        if operator == "/":
            return self._replaced(name)
        if operator == ":":
            operator += self._next()
        elif operator not in {"+", "-", "?", "#", "%"}:
            raise Unreadable(f"${{{name[:40]}{operator}…}} is not known to the builder")
        return self._modified(name, operator)

    def _modified(self, name: str, operator: str) -> str:
        kind = operator[-1:]
        word = self._nested("}", raw_escapes=kind in {"#", "%"})
        is_set = name in self._values
        if self._keep_unset and not is_set:
            return f"${{{name}{operator}{word}}}"
        value = self._values.get(name, "")
        given = is_set and (value != "" or operator[0] != ":")
        match kind:
            case "-":
                return value if given else word
            case "+":
                return word if given else ""
            case "?":
                if not given:
                    raise Unreadable(f"{name[:80]}: {word[:200] or 'it needs a value'}")
                return value
            case "#" | "%":
                return self._trimmed(name, kind, word, self._value(name))
        raise Unreadable(f"${{{name[:40]}{operator}…}} is not known to the builder")

    def _trimmed(self, name: str, kind: str, pattern: str, value: str) -> str:
        if not pattern:
            raise EmptyPattern(f"${{{name[:80]}{kind}}} has no pattern")
        longest = pattern[0] == kind
        glob = _Glob(pattern[longest:], self._budget)
        if kind == "#":
            end = glob.match(value, 0, longest=longest)
            return value[end or 0 :]
        # The shortest match at the end is found from the end, everything reversed.
        end = glob.reversed().match(value[::-1], 0, longest=longest)
        return value[: len(value) - (end or 0)]

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        pattern = self._nested("/", raw_escapes=True)
        replacement = self._nested("}", raw_escapes=True)
        if self._keep_unset and name not in self._values:
            return f"${{{name}/{pattern}/{replacement}}}"
        glob = _Glob(pattern, self._budget)
        return glob.replace(self._value(name), replacement, everywhere=everywhere)

    def _name(self) -> str:
        first = self._peek()
        if first in _SPECIAL_NAMES and first:
            self._at += 1
            return first
        start = self._at
        digits_only = first.isdecimal()
        while (char := self._peek()) and (
            char.isdecimal() or (not digits_only and (char.isalpha() or char == "_"))
        ):
            self._at += 1
        self._budget.spend(self._at - start)
        return self._text[start : self._at]

    def _value(self, name: str) -> str:
        value = self._values.get(name, "")
        if not value:
            self.without_value[name] = None
        return value


class _Glob:
    """A shell pattern with `*` and `?`, neither of which matches a newline."""

    def __init__(self, pattern: str, budget: Budget) -> None:
        self._parts: list[tuple[str, bool]] = []
        """Characters, each with whether it is a wildcard."""
        self._budget = budget
        at = 0
        while at < len(pattern):
            char = pattern[at]
            at += 1
            if char != "\\":
                self._parts.append((char, char in "*?"))
                continue
            char = pattern[at : at + 1]
            if not char or char not in "}/*?\\":
                raise Unreadable(f"\\{char} is not known in a pattern")
            # In "\}" and "\/" the backslash only prevents the end of the pattern.
            at += 1
            self._parts.append((char, False))

    def reversed(self) -> "_Glob":
        glob = _Glob("", self._budget)
        glob._parts = self._parts[::-1]
        return glob

    def match(self, value: str, start: int, *, longest: bool) -> int | None:
        """The end of a match that begins at `start`. None without a match."""
        found: int | None = None
        states = self._follow({0})
        at = start
        while states:
            self._budget.spend(_STATE_UNITS * len(states))
            if len(self._parts) in states:
                found = at
                if not longest:
                    break
            if at == len(value):
                break
            states = self._step(states, value[at])
            at += 1
        return found

    def _step(self, states: set[int], char: str) -> set[int]:
        after = set()
        for state in states:
            if state == len(self._parts):
                continue
            part, wild = self._parts[state]
            if wild and char != "\n":
                after.add(state if part == "*" else state + 1)
            elif not wild and part == char:
                after.add(state + 1)
        return self._follow(after)

    def _follow(self, states: set[int]) -> set[int]:
        """Add the states after stars, because a star may match nothing. Changes `states`."""
        todo = list(states)
        while todo:
            state = todo.pop()
            star = state < len(self._parts) and self._parts[state] == ("*", True)
            if star and state + 1 not in states:
                states.add(state + 1)
                todo.append(state + 1)
                self._budget.spend(_STATE_UNITS)
        return states

    def replace(self, value: str, replacement: str, *, everywhere: bool) -> str:
        pieces: list[str] = []
        at = copied = 0
        while at <= len(value):
            end = self.match(value, at, longest=True)
            if end is None:
                at += 1
                continue
            if end > copied or at == 0:
                pieces += [value[copied:at], replacement]
                self._budget.spend(1 + len(replacement))
                copied = end
                if not everywhere:
                    break
            at = max(end, at + (end == at))
        return "".join([*pieces, value[copied:]])
