"""Case-insensitive substring search, with trigram indexes where they help."""

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
    """Whether a trigram index can narrow a substring search for `text`.

    PostgreSQL pads each word with two blanks before and one after it. At either end of `text` the
    word may continue in the stored value, so no padding is counted on that side.
    """
    return any(
        len(word[0]) + 2 * (word.start() > 0) + (word.end() < len(text)) >= TRIGRAM
        for word in WORD.finditer(text)
    )


def part(field: str, text: str) -> dict[str, str]:
    """A condition: `field` contains `text`. Uses a trigram index if one can help."""
    return {f"{field}__{'icontains' if indexed(text) else 'holds'}": text}


class LowerIs(Exact[str]):
    """Case-insensitive equality through an index on LOWER().

    `iexact` compares UPPER(), which has no index.
    """

    def __init__(self, field: str, text: Any) -> None:
        super().__init__(Lower(field), Lower(Value(text)))


@CharField.register_lookup
class Holds(Lookup[bool]):
    """Like `icontains`, but never uses an index: for two letters a trigram index would return every
    row.

    On PostgreSQL only ASCII letters are compared case-insensitively. That takes half the time, and
    names contain only ASCII.
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
    """Like `in`, with the values as literals in the SQL, in their given order. Raises ValueError
    for values that are not lower-case words.

    SQLite uses a partial index only if the SQL text shows that the index covers the condition. With
    bound values it does not.
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
