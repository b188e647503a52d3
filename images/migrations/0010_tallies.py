"""Numbers of images by owner and visibility, kept by the database as images change.

Each change adds rows in its own transaction, so that no two wait for each other; one statement in
some puts rows together. SQLite has one writer at a time, so there the rows are changed in place.
"""

from typing import Any

from django.db import migrations, models

FOLD = """
    IF random() < 0.0625 THEN
        WITH held AS (
            SELECT id FROM images_imagetally WHERE id IN (
                SELECT id FROM images_imagetally
                WHERE owner_id IN (SELECT owner_id FROM changed LIMIT 100)
                UNION ALL SELECT id FROM images_imagetally WHERE owner_id IS NULL
                LIMIT 1000
            ) FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM images_imagetally WHERE id IN (SELECT id FROM held)
            RETURNING owner_id, public, count
        )
        INSERT INTO images_imagetally (owner_id, public, count)
        SELECT owner_id, public, sum(count) FROM gone GROUP BY owner_id, public
        HAVING sum(count) <> 0;
    END IF;
"""
COUNTED = """
    INSERT INTO images_imagetally (owner_id, public, count)
    SELECT owner_id, public, {sign}count(*) FROM {rows} GROUP BY owner_id, public;
    INSERT INTO images_imagetally (owner_id, public, count)
    SELECT NULL, true, {sign}count(*) FROM {rows} WHERE public HAVING count(*) > 0;
"""
POSTGRESQL = [
    f"""
    CREATE FUNCTION images_tally_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        {COUNTED.format(sign="", rows="changed")} {FOLD} RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION images_tally_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        {COUNTED.format(sign="-", rows="changed")} RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION images_tally_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO images_imagetally (owner_id, public, count)
        VALUES (OLD.owner_id, OLD.public, -1), (NEW.owner_id, NEW.public, 1);
        IF OLD.public <> NEW.public THEN
            INSERT INTO images_imagetally (owner_id, public, count)
            VALUES (NULL, true, CASE WHEN NEW.public THEN 1 ELSE -1 END);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER images_tally_added AFTER INSERT ON images_image
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION images_tally_added()
    """,
    """
    CREATE TRIGGER images_tally_removed AFTER DELETE ON images_image
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION images_tally_removed()
    """,
    """
    CREATE TRIGGER images_tally_moved AFTER UPDATE OF public, owner_id ON images_image
    FOR EACH ROW WHEN (OLD.public <> NEW.public OR OLD.owner_id <> NEW.owner_id)
    EXECUTE FUNCTION images_tally_moved()
    """,
]
CHANGE = """
    UPDATE images_imagetally SET count = count {sign} 1
    WHERE owner_id IS {owner} AND public = {public} AND {when};
"""
BEGIN = """
    INSERT INTO images_imagetally (owner_id, public, count)
    SELECT {owner}, {public}, 0 WHERE {when} AND NOT EXISTS (
        SELECT 1 FROM images_imagetally WHERE owner_id IS {owner} AND public = {public});
"""


def both(row: str, sign: str) -> str:
    """For an image's own row and that of all public ones.

    Something that goes was counted when it came. Where its row is gone, all tables are being
    emptied, in whatever order.
    """
    form = BEGIN + CHANGE if sign == "+" else CHANGE
    return form.format(
        sign=sign, owner=f"{row}.owner_id", public=f"{row}.public", when="1"
    ) + form.format(sign=sign, owner="NULL", public="1", when=f"{row}.public")


SQLITE = [
    f"CREATE TRIGGER images_tally_added AFTER INSERT ON images_image BEGIN {both('NEW', '+')} END",
    f"CREATE TRIGGER images_tally_removed AFTER DELETE ON images_image BEGIN {both('OLD', '-')} END",
    f"""
    CREATE TRIGGER images_tally_moved AFTER UPDATE OF public, owner_id ON images_image
    WHEN OLD.public <> NEW.public OR OLD.owner_id <> NEW.owner_id
    BEGIN {both("OLD", "-")} {both("NEW", "+")} END
    """,
]
KNOWN = """
    INSERT INTO images_imagetally (owner_id, public, count)
    SELECT owner_id, public, count(*) FROM images_image GROUP BY owner_id, public
    UNION ALL SELECT NULL, true, count(*) FROM images_image WHERE public HAVING count(*) > 0
"""


def keep(apps: Any, schema_editor: Any) -> None:
    """From now on, and of what is there."""
    statements = POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE
    for statement in [*statements, KNOWN]:
        schema_editor.execute(statement, params=None)


def end(apps: Any, schema_editor: Any) -> None:
    on = " ON images_image" if schema_editor.connection.vendor == "postgresql" else ""
    for name in ("added", "removed", "moved"):
        schema_editor.execute(f"DROP TRIGGER images_tally_{name}{on}", params=None)
        if on:
            schema_editor.execute(f"DROP FUNCTION images_tally_{name}()", params=None)


class Migration(migrations.Migration):
    dependencies = [("images", "0009_no_bulk_actions")]

    operations = [
        migrations.CreateModel(
            name="ImageTally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("owner_id", models.UUIDField(null=True)),
                ("public", models.BooleanField()),
                ("count", models.BigIntegerField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        fields=["owner_id", "public"],
                        include=["count"],
                        name="images_imagetally_counts",
                    )
                ],
            },
        ),
        migrations.RunPython(keep, end),
    ]
