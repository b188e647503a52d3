"""Looking for a part of a text, whatever the case of its letters."""

import re
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Lookup, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.db.models.sql.compiler import SQLCompiler

TRIGRAM = 3
CONSTANT = re.compile(r"[a-z]+")
WORD = re.compile(r"[^\W_]{2,}")


def indexed(text: str) -> bool:
    """Whether an index of trigrams can help to find it as a part.

    PostgreSQL takes words apart with two blanks before them and one after. A word at an end of the
    text may go on there, so it has no blanks on that side.
    """
    return any(
        len(word[0]) + 2 * (word.start() > 0) + (word.end() < len(text)) >= TRIGRAM
        for word in WORD.finditer(text)
    )


def part(field: str, text: str) -> dict[str, str]:
    """The condition that the field holds the text, by an index of trigrams where one can help."""
    return {f"{field}__{'icontains' if indexed(text) else 'holds'}": text}


class LowerIs(Exact[str]):
    """The condition that a text is another whatever the case of letters, by an index on LOWER().

    `iexact` asks for UPPER(), for which there is none.
    """

    def __init__(self, field: str, text: Any) -> None:
        super().__init__(Lower(field), Lower(Value(text)))


@CharField.register_lookup
class Holds(Lookup[bool]):
    """As `icontains`, and no index is asked: one of trigrams has every row for two letters.

    Knows the cases of ASCII alone, which takes half the time, and is all that names are made of.
    """

    lookup_name = "holds"

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return self._sql(compiler, connection, "INSTR(UPPER({}), UPPER({})) > 0")

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, Any]:
        ascii_only = 'STRPOS(UPPER({} COLLATE "C"), UPPER({} COLLATE "C")) > 0'
        return self._sql(compiler, connection, ascii_only)

    def _sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, form: str
    ) -> tuple[str, Any]:
        text, of_text = self.process_lhs(compiler, connection)
        sought, of_sought = self.process_rhs(compiler, connection)
        return form.format(text, sought), (*of_text, *of_sought)


@CharField.register_lookup
class OneOf(Lookup[Any]):
    """As `in`, with the words in the statement itself and in their order.

    SQLite uses a partial index only where it can tell from the statement that its rows are in it,
    which it cannot of a list of bound values.
    """

    lookup_name = "one_of"
    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        return "", []

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        text, of_text = self.process_lhs(compiler, connection)
        words = [str(word) for word in self.rhs]
        if not all(CONSTANT.fullmatch(word) for word in words):
            raise ValueError(f"not constants: {words}")
        return f"{text} IN ({', '.join(repr(word) for word in words)})", of_text
