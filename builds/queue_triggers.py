"""Database triggers that keep `QueueOwner.running` and `QueueLine` in step with the builds.

Every change of a build's row updates them in the same transaction. Lock order: build, QueueOwner,
its lines. SQLite drops triggers when a migration rebuilds their table, so they are checked after
each migration.
"""

from typing import Any

from django.db import transaction

NAMES = (
    "builds_queue_added",
    "builds_queue_changed",
    "builds_queue_removed",
    "builds_queue_owner",
)
WAITS = "({row}.status = 'queued' AND {row}.front = 0 AND {row}.not_before IS NULL)"
RUNS = "({row}.status IN ('building', 'pushing', 'cancelling'))"
ACTIVE = "NEW.status IN ('queued', 'building', 'pushing', 'cancelling')"
LINE = """
    INSERT INTO builds_queueline (owner_id, resource_class, waiting, precedence, load, turn)
    SELECT owner_id, {build}.resource_class, 0, -priority, running * 1.0 / weight, turn
    FROM builds_queueowner WHERE owner_id = {build}.owner_id AND {when}
    ON CONFLICT (owner_id, resource_class) DO NOTHING;
"""
OWNER = """
    INSERT INTO builds_queueowner (owner_id) SELECT {build}.owner_id WHERE {when}
    ON CONFLICT (owner_id) DO NOTHING;
"""
LINES_OF_OWNER = """
    UPDATE builds_queueline
    SET precedence = -NEW.priority, load = NEW.running * 1.0 / NEW.weight, turn = NEW.turn
    WHERE owner_id = NEW.owner_id;
"""


def _number(condition: str, *, row: str) -> str:
    return f"CASE WHEN {condition.format(row=row)} THEN 1 ELSE 0 END"


def _change(condition: str, old: bool, new: bool) -> str:
    """SQL for the change of a count when a row changes."""
    after = _number(condition, row="NEW") if new else "0"
    before = _number(condition, row="OLD") if old else "0"
    return f"({after} - {before})"


def _body(*, old: bool, new: bool) -> str:
    build = "NEW" if new else "OLD"
    waits, runs = _change(WAITS, old, new), _change(RUNS, old, new)
    made = ""
    if new:
        made = OWNER.format(build=build, when=ACTIVE)
    line = LINE.format(build=build, when=WAITS.format(row="NEW")) if new else ""
    of_line = f"owner_id = {build}.owner_id AND resource_class = {build}.resource_class"
    return f"""
        {made}
        UPDATE builds_queueowner SET running = running + {runs} WHERE owner_id = {build}.owner_id;
        {line}
        UPDATE builds_queueline SET waiting = waiting + {waits} WHERE {of_line} AND {waits} <> 0;
        DELETE FROM builds_queueline WHERE {of_line} AND waiting <= 0;
    """  # noqa: S608  (built from constants)


def _when(*, old: bool, new: bool) -> str:
    if not old:
        return ACTIVE
    return f"{_change(WAITS, old, new)} <> 0 OR {_change(RUNS, old, new)} <> 0"


EVENTS = {
    "builds_queue_added": ("INSERT", {"old": False, "new": True}),
    "builds_queue_changed": (
        "UPDATE OF status, front, not_before",
        {"old": True, "new": True},
    ),
    "builds_queue_removed": ("DELETE", {"old": True, "new": False}),
}
OWNER_EVENT = "UPDATE OF priority, weight, running, turn ON builds_queueowner"


def _sqlite() -> list[str]:
    found = [
        f"CREATE TRIGGER {name} AFTER {event} ON builds_build "
        f"WHEN {_when(**rows)} BEGIN {_body(**rows)} END"
        for name, (event, rows) in EVENTS.items()
    ]
    owner = f"CREATE TRIGGER builds_queue_owner AFTER {OWNER_EVENT} BEGIN {LINES_OF_OWNER} END"
    return [*found, owner]


def _postgresql() -> list[str]:
    found = []
    bodies = {name: _body(**rows) for name, (_, rows) in EVENTS.items()}
    for name, body in {**bodies, "builds_queue_owner": LINES_OF_OWNER}.items():
        found.append(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN NULL; END $$"
        )
    for name, (event, rows) in EVENTS.items():
        found.append(
            f"CREATE TRIGGER {name} AFTER {event} ON builds_build FOR EACH ROW "
            f"WHEN ({_when(**rows)}) EXECUTE FUNCTION {name}()"
        )
    found.append(
        f"CREATE TRIGGER builds_queue_owner AFTER {OWNER_EVENT} FOR EACH ROW "
        "EXECUTE FUNCTION builds_queue_owner()"
    )
    return found


COUNT = (
    "DELETE FROM builds_queueline",
    """
    INSERT INTO builds_queueowner (owner_id) SELECT DISTINCT owner_id FROM builds_build
    WHERE status IN ('queued', 'building', 'pushing', 'cancelling')
    ON CONFLICT (owner_id) DO NOTHING
    """,
    """
    UPDATE builds_queueowner SET running = (
        SELECT COUNT(*) FROM builds_build b WHERE b.owner_id = builds_queueowner.owner_id
        AND b.status IN ('building', 'pushing', 'cancelling')
    )
    """,
    """
    INSERT INTO builds_queueline (owner_id, resource_class, waiting, precedence, load, turn)
    SELECT o.owner_id, b.resource_class, COUNT(*), -o.priority, o.running * 1.0 / o.weight, o.turn
    FROM builds_build b JOIN builds_queueowner o ON o.owner_id = b.owner_id
    WHERE b.status = 'queued' AND b.front = 0 AND b.not_before IS NULL
    GROUP BY o.owner_id, b.resource_class, o.priority, o.running, o.weight, o.turn
    """,
)
"""Statements that recompute all counts."""


def install(connection: Any) -> None:
    """Create missing triggers and recompute the counts."""
    with connection.cursor() as cursor:
        known = (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
            if connection.vendor == "postgresql"
            else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        )
        cursor.execute(known)
        there = {name for (name,) in cursor.fetchall()}
        if there.issuperset(NAMES):
            return
        with transaction.atomic(using=connection.alias):
            remove(connection)
            for statement in _postgresql() if connection.vendor == "postgresql" else _sqlite():
                cursor.execute(statement)
            for statement in COUNT:
                cursor.execute(statement)


def remove(connection: Any) -> None:
    with connection.cursor() as cursor:
        for name in NAMES:
            table = "builds_queueowner" if name == "builds_queue_owner" else "builds_build"
            on = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on}")
