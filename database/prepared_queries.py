"""Querysets, UPDATEs and INSERTs that are compiled to SQL once.

Django builds the SQL of a queryset on every call, which takes longer than PostgreSQL needs to fetch
a row with its relations. A `Prepared` keeps the SQL for each database vendor and only binds values.
On PostgreSQL it also uses a server-side prepared statement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from threading import Lock
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Field, Model, QuerySet
from django.db.models.sql import Query, UpdateQuery

ANY = "= ANY(%s)"
"""PostgreSQL binds a list as one value. Other databases get one placeholder per item."""
Row = tuple[Any, ...]
Converter = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class _Statement:
    sql: str
    params: tuple[Any, ...]
    """Values to bind, with an `_Argument` for each value that is passed to `rows`."""
    converters: dict[int, tuple[list[Converter], Any]]


@dataclass(frozen=True, slots=True)
class _Argument:
    position: int


class Prepared:
    """A query whose SQL is compiled once. `make` takes one argument per type in `kinds` and returns
    a `values_list` queryset.

    `make` is called once per database vendor, with placeholder values. It may use them only as
    values of conditions. Supported types: UUID, str, datetime, and list (of UUIDs, for `__in`).
    With `limited`, a LIMIT and an OFFSET are appended and passed after the values.
    """

    def __init__(
        self, make: Callable[..., "QuerySet[Any, Any]"], *kinds: type, limited: bool = False
    ) -> None:
        self._make = make
        self._kinds = kinds
        self._limited = limited
        self._statements: dict[str, _Statement] = {}
        self._lock = Lock()

    def rows(self, *values: Any) -> list[Row]:
        """Run the query with these values and return its rows."""
        statement = self._statement()
        found = execute(*self._bound(statement, values))
        return _converted(found, statement.converters) if statement.converters else found

    def _bound(self, statement: _Statement, values: Sequence[Any]) -> tuple[str, list[Any]]:
        sql, params = statement.sql, list[Any]()
        for each in statement.params:
            given = values[each.position] if isinstance(each, _Argument) else each
            if isinstance(given, list) and connection.vendor != "postgresql":
                sql = sql.replace(ANY, f"IN ({', '.join(['%s'] * len(given))})")
                params += [_adapted(value) for value in given]
            else:
                params.append(_adapted(given))
        if self._limited:
            params += values[len(self._kinds) :]
        return sql, params

    def _statement(self) -> _Statement:
        found = self._statements.get(connection.vendor)
        if found is None:
            with self._lock:
                found = self._statements[connection.vendor] = self._compiled()
        return found

    def _compiled(self) -> _Statement:
        stand_ins = [_stand_in(kind) for kind in self._kinds]
        given = [
            [each] if kind is list else each
            for kind, each in zip(self._kinds, stand_ins, strict=True)
        ]
        compiler = self._query(*given).get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        positions = {_adapted(each): _Argument(at) for at, each in enumerate(stand_ins)}
        bound = tuple(positions.get(each, each) if _hashable(each) else each for each in params)
        missing = set(positions.values()) - {each for each in bound if isinstance(each, _Argument)}
        if missing:
            raise ValueError(f"not used as values: {missing}")
        columns = [each for each, *_ in getattr(compiler, "select", None) or []]
        if list in self._kinds:
            sql = sql.replace("IN (%s)", ANY)
        if self._limited:
            sql += " LIMIT %s OFFSET %s"
        return _Statement(sql, bound, compiler.get_converters(columns))

    def _query(self, *given: Any) -> Query:
        found: Query = self._make(*given).query
        return found


class PreparedUpdate(Prepared):
    """An UPDATE. `make` returns the queryset and the new values, which may be arguments too."""

    def __init__(
        self, make: "Callable[..., tuple[QuerySet[Any, Any], dict[str, Any]]]", *kinds: type
    ) -> None:
        super().__init__(make, *kinds)  # type: ignore[arg-type]

    def run(self, *values: Any) -> int:
        """Run the update with these values and return the number of changed rows."""
        sql, params = self._bound(self._statement(), values)
        postgresql = connection.vendor == "postgresql"
        with _prepared_cursor() if postgresql else connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)

    def _query(self, *given: Any) -> Query:
        rows, changed = self._make(*given)
        query: UpdateQuery = rows.query.chain(UpdateQuery)
        query.add_update_values(changed)
        return query


def execute(sql: str, params: Sequence[Any]) -> list[Row]:
    """Run a SELECT and return the driver's rows, without Django's converters."""
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())
    with _prepared_cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def insert(*rows: Model) -> None:
    """Insert rows of different models, all or none; on PostgreSQL with one statement.

    The caller sets the primary keys. No signals are sent. Raises IntegrityError.
    """
    statements = [_insert_statement(type(row), str(connection.vendor)) for row in rows]
    values = [
        [
            field.get_db_prep_save(field.pre_save(row, add=True), connection=connection)
            for field in fields
        ]
        for row, (_, fields) in zip(rows, statements, strict=True)
    ]
    if connection.vendor == "postgresql":
        *others, last = (sql for sql, _ in statements)
        others = [f"row_{at} AS ({sql})" for at, sql in enumerate(others)]
        with _prepared_cursor() as cursor:
            sql = f"WITH {', '.join(others)} {last}" if others else last
            cursor.execute(sql, [value for each in values for value in each])
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            for (sql, _), each in zip(statements, values, strict=True):
                cursor.execute(sql, each)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias  # noqa: SLF001 - as save() does


@cache
def _insert_statement(model: type[Model], _vendor: str) -> tuple[str, list["Field[Any, Any]"]]:
    """The INSERT statement of a model, and the fields whose values it binds, in order."""
    fields = list(model._meta.local_concrete_fields)
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    table = quote(model._meta.db_table)
    return f"INSERT INTO {table} ({columns}) VALUES ({places})", fields  # noqa: S608 - names from models


def _prepared_cursor() -> Any:
    """A PostgreSQL cursor that binds values on the server and prepares its statements."""
    from database.server_cursor import PreparedCursor  # noqa: PLC0415  (SQLite needs no psycopg)

    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor: Any = PreparedCursor(connection.connection)
    if connection.queries_logged:
        return connection.make_debug_cursor(cursor)
    return connection.make_cursor(cursor)


def _stand_in(kind: type) -> Any:
    """A unique placeholder value, so that its position can be found in the compiled parameters."""
    if kind is str:
        return f"stand-in-{uuid4().hex}"
    if kind is datetime:
        return datetime.fromtimestamp(uuid4().int % 10**15 / 10**6, UTC)
    return uuid4()


def _adapted(value: Any) -> Any:
    if isinstance(value, UUID) and not connection.features.has_native_uuid_field:
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def _hashable(value: Any) -> bool:
    return isinstance(value, str | UUID | datetime)


def _converted(rows: list[Row], converters: dict[int, tuple[list[Converter], Any]]) -> list[Row]:
    made = []
    for row in rows:
        values = list(row)
        for at, (convert, expression) in converters.items():
            for each in convert:
                values[at] = each(values[at], expression, connection)
        made.append(tuple(values))
    return made
