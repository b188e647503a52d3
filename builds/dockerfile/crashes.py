"""Refuses instructions that crash BuildKit 0.13, and with it dockerd."""

from collections.abc import Iterable, Iterator

from builds.dockerfile.expansion import Budget, EmptyPattern, Lexer, Unreadable
from builds.dockerfile.source import Instruction
from builds.dockerfile.stages import Line, split_words

_EXPANDED = {
    "add", "arg", "copy", "env", "expose", "label", "stopsignal", "user", "volume", "workdir",
}  # fmt: skip
_ALWAYS_SET = "PATH"


def refuse_crashes(instructions: Iterable[Instruction], escape: str, budget: Budget) -> None:
    """Refuse expansions with an empty pattern (`${X#}`, `${X%}`): they crash the daemon.

    Raises DockerfileRefused.
    """
    instructions = list(instructions)
    suspects = [each for each in instructions if _has_mark(each.text) or _has_mark(each.body)]
    if not suspects:
        return
    declared = dict.fromkeys(_declared(instructions, escape), "x")
    for each in suspects:
        with Line(each.line):
            for lexer in _lexers(each, declared, escape, budget):
                _read(lexer)


def _has_mark(text: str) -> bool:
    return "#}" in text or "%}" in text


def _read(lexer: Lexer) -> None:
    try:
        lexer.word()
    except EmptyPattern:
        raise
    except Unreadable:
        """BuildKit stops here too."""


def _lexers(
    each: Instruction, declared: dict[str, str], escape: str, budget: Budget
) -> Iterator[Lexer]:
    if each.word in _EXPANDED:
        yield Lexer(each.text, {}, budget, escape=escape)
        if "'" not in each.text and '"' not in each.text:  # the heredoc may not be expanded
            yield Lexer(each.body, {}, budget, quotes=False)
    elif each.word == "run":
        # BuildKit expands RUN only for its title, and keeps unset variables as they are written.
        first = each.body.lstrip().partition("\n")[0]
        text = f"{each.text} ({first})" if first else each.text
        yield Lexer(text, declared, budget, escape=escape, raw_quotes=True, keep_unset=True)


def _declared(instructions: Iterable[Instruction], escape: str) -> Iterator[str]:
    yield _ALWAYS_SET
    for each in instructions:
        if each.word in {"arg", "env"}:
            words = list(split_words(each.arguments, escape))
            old_style = each.word == "env" and words and "=" not in words[0]
            for word in words[:1] if old_style else words:
                yield word.partition("=")[0]
