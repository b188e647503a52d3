"""Parser directives above the first instruction: `# escape=` is applied, `# syntax=` is disabled.

A syntax directive makes BuildKit fetch and run another front end. Builds here use the built-in one.
"""

import re
from dataclasses import dataclass

from builds.dockerfile.errors import DockerfileRefused
from builds.dockerfile.expansion import SPACES

Edit = tuple[int, int, str]
"""(start, end, new): replace `text[start:end]` by `new`."""
_DIRECTIVES = {"escape", "syntax"}
_SPACE = "\t\n\f\r "
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")


@dataclass(frozen=True, slots=True)
class Directives:
    """The escape character, and the edits that turn syntax directives into comments."""

    escape: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    text: str
    name: str
    value: str

    def replaced(self, text: str) -> Edit:
        return self.start, self.start + len(self.text), text


def read_directives(text: str) -> Directives:
    """Parse the directives. Raises DockerfileRefused for `// syntax=` and for JSON."""
    _refuse_other_formats(text)
    shebang = text.startswith("#!")
    block = _block(text, "#", at=_after_first_line(text) if shebang else 0)
    escape = "\\"
    if not shebang:
        escapes = [line.value for line in block if line.name == "escape"]
        escape = escapes[0] if escapes and escapes[0] in {"\\", "`"} else "\\"
    syntaxes = [line for line in block if line.name == "syntax"]
    if not syntaxes:
        return Directives(escape, ())
    others = [line for line in block if line.name != "syntax"]
    # A comment ends the directives, so the others move up before it. The number of lines stays.
    texts = [line.text for line in others] + [_as_comment(line.text) for line in syntaxes]
    edits = tuple(line.replaced(new) for line, new in zip(block, texts, strict=True))
    return Directives(escape, edits)


def _as_comment(directive: str) -> str:
    before, _, after = directive.partition("#")
    return f"{before}#: {after.lstrip(_SPACE)}"


def _block(text: str, mark: str, at: int) -> list[_Line]:
    """The consecutive directives from `at` on. An unknown directive ends them."""
    lines: list[_Line] = []
    if at == 0 and text.startswith("\ufeff"):
        at = 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        content = text[at:end].rstrip("\r")
        line = _directive(at, content, mark)
        if line is None:
            break
        lines.append(line)
        at = end + 1
    return lines


def _directive(start: int, content: str, mark: str) -> _Line | None:
    bare = content.lstrip(SPACES)
    if not bare.startswith(mark):
        return None
    found = _NAME.match(bare := bare[len(mark) :].lstrip(_SPACE))
    if found is None or found[0].lower() not in _DIRECTIVES:
        return None
    after = bare[found.end() :].lstrip(_SPACE)
    if not after.startswith("=") or after == "=":
        return None
    return _Line(start, content, found[0].lower(), after[1:].strip(_SPACE))


def _after_first_line(text: str) -> int:
    return text.find("\n") + 1 or len(text)


def _refuse_other_formats(text: str) -> None:
    """Refuse `// syntax=` and JSON, which select a front end for texts that are not Dockerfiles."""
    at = _after_first_line(text) if text.startswith("#!") else 0
    line = 2 if at else 1
    for number, directive in enumerate(_block(text, "//", at), start=line):
        if directive.name == "syntax":
            raise DockerfileRefused(
                "// syntax= asks for another front end, and builds here use the one for "
                "Dockerfiles: remove the line",
                line=number,
            )
    start = len(text) - len(text[at:].lstrip(SPACES + "\ufeff"))
    if text.startswith("{", start):
        raise DockerfileRefused(
            "this is JSON and no Dockerfile: start with FROM and a base image",
            line=text.count("\n", 0, start) + 1,
        )
