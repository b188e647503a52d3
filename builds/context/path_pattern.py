"""Matches patterns of `.dockerignore` files as Docker does, in time linear in the path.

One difference: a class such as `[[:alpha:]]`, or one with `*` or `?` in it, has the meaning of
Go's filepath.Match, while Docker converts it to a regular expression.
"""

from dataclasses import dataclass


class BadPattern(ValueError):
    """Docker refuses the pattern too. The message continues a sentence about its line."""


@dataclass(frozen=True, slots=True)
class _Characters:
    """`[a-z]` or `[^a-z]`. As in Docker, the latter also matches a slash."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def __contains__(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


_NOTHING = _Characters((), negated=False)
_DIGITS = (("0", "9"),)
_WORDS = (*_DIGITS, ("A", "Z"), ("_", "_"), ("a", "z"))
_BLANKS = (("\t", "\r"), (" ", " "))


def _escaped(character: str) -> str | _Characters:
    """The meaning of a character after a backslash. Docker passes both to Go's regular
    expressions, so `bin\\Debug` does not match the path that its author meant."""
    if not (character.isascii() and character.isalnum()):
        return character
    ranges = {"d": _DIGITS, "w": _WORDS, "s": _BLANKS}.get(character.lower())
    return _Characters(ranges, negated=character.isupper()) if ranges else _NOTHING


def _is_literal(text: str) -> bool:
    return text != "" and text[0] != "/" and set(text).isdisjoint("*?[]\\")


class PathPattern:
    """A pattern as a nondeterministic automaton. Its set of states is one integer (a bit set).

    State n is the position before the n-th token. `**/` has two states: before it, where it may be
    skipped, and inside it, which only a slash leaves.
    """

    def __init__(self, pattern: str) -> None:
        """Raises BadPattern if Docker refuses the pattern too."""
        self._tokens: list[str | _Characters | None] = []
        """What a character must match to reach the next state. None: see the bit sets below."""
        self._stars = self._tails = self._deep_starts = self._deep_insides = self._singles = 0
        self._steps: dict[str, int] = {}
        self._parse(pattern)
        self._end = 1 << len(self._tokens)

    def matches(self, path: str) -> bool:
        """Whether it matches the path or one of its parent folders."""
        states = self._skip(1)
        for character in path:
            if character == "/" and states & self._end:
                return True
            moved = (states & self._step(character)) << 1
            moved |= states & (self._tails | self._deep_insides)
            moved |= (states & self._deep_starts) << 1
            if character == "/":
                moved |= (states & self._deep_starts) << 2 | (states & self._deep_insides) << 1
            else:
                moved |= states & self._stars | (states & self._singles) << 1
            if not moved:
                return False
            states = self._skip(moved)
        return bool(states & self._end)

    def _skip(self, states: int) -> int:
        """Add the states that are reachable without a character."""
        while True:
            more = states | (states & (self._stars | self._tails)) << 1
            more |= (states & self._deep_starts) << 2
            if more == states:
                return states
            states = more

    def _step(self, character: str) -> int:
        """The states whose token matches this character."""
        if character not in self._steps:
            self._steps[character] = sum(
                1 << place
                for place, token in enumerate(self._tokens)
                if token is not None
                and (token == character if isinstance(token, str) else character in token)
            )
        return self._steps[character]

    def _parse(self, pattern: str) -> None:
        at = 0
        while at < len(pattern):
            character = pattern[at]
            here = 1 << len(self._tokens)
            at += 1
            if character == "*" and pattern[at : at + 1] == "*":
                at = self._parse_deep(pattern, at + 1)
            elif character == "*":
                self._stars |= here
                self._tokens.append(None)
            elif character == "?":
                self._singles |= here
                self._tokens.append(None)
            elif character == "[":
                token, at = self._characters(pattern, at)
                self._tokens.append(token)
            elif character == "\\":
                if at == len(pattern):
                    raise BadPattern("ends in a backslash")
                self._tokens.append(_escaped(pattern[at]))
                at += 1
            else:
                self._tokens.append(character)

    def _parse_deep(self, pattern: str, at: int) -> int:
        """Parse a `**`. `at` is the index after it; returns the index to continue at."""
        here = 1 << len(self._tokens)
        # `**b` matches any path that ends in b, while `**b?` matches whole names only.
        if at == len("**") and _is_literal(pattern[at:]):
            self._tails |= here
            self._tokens.append(None)
            return at
        at += pattern[at : at + 1] == "/"
        if at >= len(pattern):
            self._tails |= here
            self._tokens.append(None)
        elif not self._deep_insides & here >> 1:  # `**/**/` equals `**/`
            self._deep_starts |= here
            self._deep_insides |= here << 1
            self._tokens += [None, None]
        return at

    def _characters(self, pattern: str, at: int) -> tuple[_Characters, int]:
        negated = pattern[at : at + 1] == "^"
        at += negated
        ranges: list[tuple[str, str]] = []
        while pattern[at : at + 1] != "]" or not ranges:
            low, at = self._character(pattern, at)
            high = low
            if pattern[at : at + 1] == "-":
                high, at = self._character(pattern, at + 1)
            if low > high:
                raise BadPattern("has a range from a later character to an earlier one")
            ranges.append((low, high))
        return _Characters(tuple(ranges), negated), at + 1

    def _character(self, pattern: str, at: int) -> tuple[str, int]:
        if pattern[at : at + 1] == "\\":
            at += 1
        elif pattern[at : at + 1] in {"-", "]"}:
            raise BadPattern("has a '[…]' that cannot be read")
        if at >= len(pattern):
            raise BadPattern("has a '[' without its ']'")
        return pattern[at], at + 1
