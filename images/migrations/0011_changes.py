"""A journal of images that come, go and change hands, for totals that are brought up to date.

PostgreSQL only: a count of some time ago is as good as one of now with what was committed since.
Rows that no such count can need any more are removed by those who add some.
"""

from typing import Any

from django.db import migrations, models

COLUMNS = "owner_id, public, name, tag, created_at"
NOW = "pg_current_xact_id()::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
PRUNE = """
    IF random() < 0.015 THEN
        DELETE FROM images_imagechange WHERE transaction < (
            SELECT horizon FROM images_imagechange
            WHERE at < clock_timestamp() - interval '5 minutes' ORDER BY id DESC LIMIT 1
        );
    END IF;
"""
JOURNAL = """
    INSERT INTO images_imagechange (count, transaction, horizon, at, {columns})
    SELECT {sign}1, {now}, clock_timestamp(), {columns} FROM changed;
"""
STATEMENTS = [
    *(
        f"""
        CREATE FUNCTION images_change_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            {JOURNAL.format(sign=sign, now=NOW, columns=COLUMNS)} {PRUNE} RETURN NULL;
        END $$
        """
        for name, sign in (("added", ""), ("removed", "-"))
    ),
    """
    CREATE FUNCTION images_change_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO images_imagechange (count, transaction, horizon, at, COLUMNS) VALUES
            (-1, NOW, clock_timestamp(),
                OLD.owner_id, OLD.public, OLD.name, OLD.tag, OLD.created_at),
            (1, NOW, clock_timestamp(),
                NEW.owner_id, NEW.public, NEW.name, NEW.tag, NEW.created_at);
        RETURN NULL;
    END $$
    """.replace("COLUMNS", COLUMNS).replace("NOW", NOW),
    """
    CREATE TRIGGER images_change_added AFTER INSERT ON images_image
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION images_change_added()
    """,
    """
    CREATE TRIGGER images_change_removed AFTER DELETE ON images_image
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION images_change_removed()
    """,
    """
    CREATE TRIGGER images_change_moved
    AFTER UPDATE OF public, owner_id, name, tag, created_at ON images_image
    FOR EACH ROW WHEN (
        (OLD.public, OLD.owner_id, OLD.name, OLD.tag, OLD.created_at)
        IS DISTINCT FROM (NEW.public, NEW.owner_id, NEW.name, NEW.tag, NEW.created_at)
    ) EXECUTE FUNCTION images_change_moved()
    """,
]


def keep(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in STATEMENTS:
            schema_editor.execute(statement, params=None)


def end(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in ("added", "removed", "moved"):
            schema_editor.execute(f"DROP TRIGGER images_change_{name} ON images_image", params=None)
            schema_editor.execute(f"DROP FUNCTION images_change_{name}()", params=None)


class Migration(migrations.Migration):
    dependencies = [("images", "0010_tallies")]

    operations = [
        migrations.CreateModel(
            name="ImageChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("count", models.SmallIntegerField()),
                ("transaction", models.BigIntegerField()),
                ("horizon", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("owner_id", models.UUIDField()),
                ("public", models.BooleanField()),
                ("name", models.CharField(max_length=65)),
                ("tag", models.CharField(max_length=128)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["transaction"], name="images_imagechange_since")],
            },
        ),
        migrations.RunPython(keep, end),
    ]
