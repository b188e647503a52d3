"""Fills a PostgreSQL database with a million images and three million builds, by its own SQL."""

import sys
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from builds.models import Build
from images.models import Image

USERS = 1_000
BUILDS_PER_IMAGE = 3
QUEUED, RUNNING = 60, 20
"""The newest images wait in the queue, and those after them are being built."""
STEP = 100_000
SECONDS_BETWEEN = 90
RARE = 20_000
"""One of so many images has two letters in its name that no other image has."""
DEFAULTS = {"CharField": "''", "TextField": "''", "JSONField": "'[]'", "BooleanField": "false"}
TABLES = ("images_image", "builds_build")

# The first user owns a tenth of all images, the others share the rest.
SHAPE = f"""
    SELECT n, md5('image' || n)::uuid AS image_id,
        md5('user' || CASE WHEN n % 10 = 0 THEN 1 ELSE 2 + n % {USERS - 1} END)::uuid AS owner_id,
        CASE WHEN n % 10 = 0 THEN 'user-1' ELSE 'user-' || (2 + n % {USERS - 1}) END AS username,
        (ARRAY['payments', 'search', 'billing', 'frontend', 'worker', 'ingest', 'mailer', 'trainer',
            'gateway', 'reports'])[1 + n % 10] || '-' || (ARRAY['api', 'job', 'web', 'cron', 'base',
            'model', 'proxy'])[1 + n % 7] || '-' || n
            || CASE WHEN n % {RARE} = 7 THEN '-zq' ELSE '' END AS name,
        'v' || (n % 9) || '.' || (n % 31) AS tag,
        now() - n * interval '{SECONDS_BETWEEN} seconds' AS made_at
    FROM generate_series(<first>, <last>) AS n
"""
USER = f"""
    INSERT INTO accounts_user
        (id, username, password, is_superuser, is_staff, is_active, created_at)
    SELECT md5('user' || n)::uuid, 'user-' || n, '!', false, false, true, now()
    FROM generate_series(1, {USERS}) AS n
"""
STANDING = f"""CASE
    WHEN n <= {QUEUED} THEN 'queued' WHEN n <= {QUEUED + RUNNING} THEN 'building'
    WHEN n / 10 % 8 = 1 THEN 'failed' WHEN n / 10 % 40 = 2 THEN 'cancelled' ELSE 'succeeded' END
"""
BUILD = f"""
    INSERT INTO builds_build (id, image_id, owner_id, label, number, dockerfile, build_args,
        target, no_cache, pull, labels, context_key, context_sha256, context_bytes, status, step,
        steps, front, queued_at,
        started_at, ended_at, worker, fence, restarts, free, failure_fault, failure_code,
        failure_text, digest, image_bytes, log_chunks, log_lines, log_bytes, log_steps,
        step_list, step_times, gap_start, gap_stop, archive_key, lease_until)
    SELECT md5('build' || n || '-' || k)::uuid, image_id, owner_id,
        username || '/' || name || ':' || tag, k, 'FROM scratch', '{{}}', '', false, false, '{{}}',
        CASE WHEN k = 3 THEN 'contexts/' || n || '.zip' ELSE '' END,
        md5('context' || n) || md5('context' || k), 1000, status, 3, 3, 0, queued_at,
        CASE WHEN status <> 'queued' THEN queued_at + interval '5 s' END,
        CASE WHEN ended THEN queued_at + interval '65 s' END,
        CASE WHEN status <> 'queued' THEN 'host-' || n % 4 || ':7' ELSE '' END, 1, 0, false,
        CASE WHEN status <> 'failed' THEN '' WHEN n % 3 = 0 THEN 'service' ELSE 'user' END,
        CASE WHEN status = 'failed' THEN 'code-' || n % 12 ELSE '' END, '',
        CASE WHEN status = 'succeeded' THEN
            'sha256:' || md5('one' || n || k) || md5('two' || n || k) ELSE '' END,
        CASE WHEN status = 'succeeded' THEN 1000000::bigint * (1 + n % 6000) END,
        1, 50, 4000, '[]', '[]', '[]', 0, 0,
        CASE WHEN ended THEN 'logs/' || n || '-' || k ELSE '' END,
        CASE WHEN status = 'building' THEN now() + interval '1 day' END
    FROM (
        SELECT *, status NOT IN ('queued', 'building') AS ended FROM (
            SELECT shape.*, k, made_at + (k - 1) * interval '40 s' AS queued_at,
                CASE WHEN k = 3 THEN {STANDING}
                    WHEN k = 2 AND n % 3 = 0 THEN 'failed' ELSE 'succeeded' END AS status
            FROM ({SHAPE}) AS shape, generate_series(1, {BUILDS_PER_IMAGE}) AS k
        ) AS attempts
    ) AS told
"""
IMAGE = f"""
    INSERT INTO images_image (id, reference_id, owner_id, name, tag, readme, public, protected,
        patch_version, chutes_version, created_at, ended_at, good_bytes, good_ms, state,
        current_id, good_id)
    SELECT image_id, md5('reference' || n)::uuid, owner_id, name, tag, '', n % 3 = 0, n % 50 = 0,
        'initial', '', made_at, made_at + interval '145 s', 1000000::bigint * (1 + n % 6000), 60000,
        state, md5('build' || n || '-3')::uuid,
        md5('build' || n || CASE WHEN state = 'succeeded' THEN '-3' ELSE '-1' END)::uuid
    FROM (SELECT *, {STANDING} AS state FROM ({SHAPE}) AS shape) AS told
"""


def fill(images: int, tell: Callable[[str], None] | None = None) -> float:
    """Fills an empty, migrated database of its own server; returns the seconds that it took.

    Indexes and constraints are made after the rows, which is much faster.
    """
    say = tell or (lambda text: print(text, file=sys.stderr, flush=True))
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        cursor.execute("SELECT pg_reload_conf()")
        set_defaults(cursor)
        made = _bare(cursor)
        cursor.execute(USER)
        for first in range(1, images + 1, STEP):
            last = min(first + STEP - 1, images)
            for statement in (BUILD, IMAGE):
                cursor.execute(
                    statement.replace("<first>", str(first)).replace("<last>", str(last))
                )
            say(f"{last:,} of {images:,} images, {time.monotonic() - began:.0f} s")
        for number, statement in enumerate(made, start=1):
            cursor.execute(statement)
            say(f"index or rule {number} of {len(made)}, {time.monotonic() - began:.0f} s")
        cursor.execute("VACUUM ANALYZE")
    return time.monotonic() - began


def set_defaults(cursor: Any) -> None:
    """Lets the database set columns that the statements do not name; elsewhere Django sets them."""
    for model in (Build, Image):
        for field in model._meta.concrete_fields:
            kind = field.get_internal_type()
            default = DEFAULTS.get(kind, "0" if "Integer" in kind else None)
            if default is not None and not field.null and not field.primary_key:
                cursor.execute(
                    f'ALTER TABLE {model._meta.db_table} ALTER COLUMN "{field.column}" '
                    f"SET DEFAULT {default}"
                )


def _bare(cursor: Any) -> list[str]:
    """Drops every index and constraint of the tables. Returns the statements that make them
    again, in order."""
    cursor.execute(
        "SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE contype IN ('f', 'p', 'u') AND (conrelid = ANY(%s::regclass[]) "
        "OR confrelid = ANY(%s::regclass[])) ORDER BY contype <> 'f', contype",
        [list(TABLES), list(TABLES)],
    )
    rules = cursor.fetchall()
    for table, name, _, _ in rules:
        cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [list(TABLES)]
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    again = [
        f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}'
        for table, name, kind, definition in reversed(rules)
        if kind != "f"
    ]
    foreign = [
        f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}'
        for table, name, kind, definition in rules
        if kind == "f"
    ]
    return again + [definition for _, definition in indexes] + foreign
