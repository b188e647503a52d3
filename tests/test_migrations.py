"""New migrations are ones that processes of the release before survive: see docs/upgrading.md."""

from collections.abc import Iterator

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models.fields import NOT_PROVIDED

BASELINE = {"accounts": 4, "builds": 60, "config": 2, "images": 29, "operators": 2}
"""By app the number of the last migration of before the first release: no process is older."""
DROPPED: dict[str, str] = {}
"""`app.model.field` or `app.model` that a migration may drop: the release that stopped using it."""
REVIEWED: dict[str, str] = {}
"""`app.migration` with SQL or Python of its own: why old processes survive it."""
OWN_TABLES = (migrations.CreateModel,)
HARMLESS = (
    AddIndexConcurrently,
    migrations.AlterModelManagers,
    migrations.AlterModelOptions,
    migrations.RemoveConstraint,
    migrations.RemoveIndex,
    migrations.SeparateDatabaseAndState,
)


def problems(app: str, migration: migrations.Migration) -> Iterator[str]:
    """What processes that know nothing of the migration would not survive."""
    made = {each.name.lower() for each in migration.operations if isinstance(each, OWN_TABLES)}
    for each in migration.operations:
        model = str(getattr(each, "model_name", getattr(each, "name", "")))
        if model.lower() in made:
            continue
        problem = _problem(app, each)
        if problem:
            yield f"{app}.{migration.name}: {problem}"


def _problem(app: str, operation: Operation) -> str | None:
    match operation:
        case migrations.RemoveField() | migrations.DeleteModel():
            parts = (app, getattr(operation, "model_name", ""), operation.name)
            name = ".".join(filter(None, parts)).lower()
            return None if name in DROPPED else f"drops {name}"
        case migrations.RenameField() | migrations.RenameModel() | migrations.AlterModelTable():
            return f"renames: {operation.describe()}"
        case migrations.AddField():
            return _new_column(operation)
        case migrations.AlterField():
            return f"changes the column {operation.model_name}.{operation.name}"
        case migrations.AddConstraint() | migrations.AlterUniqueTogether():
            return f"refuses what old processes may write: {operation.describe()}"
    known = isinstance(operation, (*OWN_TABLES, *HARMLESS))
    return None if known else f"to be reviewed: {operation.describe()}"


def _new_column(operation: migrations.AddField) -> str | None:
    field = operation.field
    if isinstance(field, models.ManyToManyField) or field.null:
        return None
    if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:
        return None
    return f"adds {operation.model_name}.{operation.name}, NOT NULL and without a db_default"


def number(name: str) -> int:
    return int(name.partition("_")[0])


def new_migration(*operations: Operation) -> migrations.Migration:
    class Migration(migrations.Migration):
        pass

    Migration.operations = operations
    return Migration("0099_new", "builds")


def test_old_processes_survive_every_new_migration() -> None:
    found: list[str] = []
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        is_new = app in BASELINE and number(name) > BASELINE[app]
        if is_new and f"{app}.{name}" not in REVIEWED:
            found += problems(app, migration)
    assert found == [], "see docs/upgrading.md for what to do in its place"


@pytest.mark.parametrize(
    "operation",
    [
        migrations.RemoveField("build", "label"),
        migrations.DeleteModel("Build"),
        migrations.RenameField("build", "label", "name"),
        migrations.RenameModel("Build", "Attempt"),
        migrations.AlterModelTable("build", "attempts"),
        migrations.AddField("build", "new", models.TextField(default="")),
        migrations.AlterField("build", "label", models.TextField()),
        migrations.AddConstraint(
            "build", models.UniqueConstraint(fields=["label"], name="one_of_each")
        ),
        migrations.AddIndex("build", models.Index(fields=["label"], name="by_label")),
        migrations.RunSQL("DROP TABLE builds_build"),
        migrations.RunPython(migrations.RunPython.noop),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_what_old_processes_do_not_survive_is_refused(operation: Operation) -> None:
    migration = new_migration(operation)
    assert len(list(problems("builds", migration))) == 1


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("build", "new", models.TextField(null=True)),
        migrations.AddField("build", "new", models.TextField(default="", db_default="")),
        migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))]),
        migrations.RemoveIndex("build", "by_label"),
    ],
    ids=["null", "db_default", "table", "index"],
)
def test_what_they_survive_is_taken(operation: Operation) -> None:
    migration = new_migration(operation)
    assert list(problems("builds", migration)) == []


def test_a_table_of_the_same_migration_may_be_changed() -> None:
    migration = new_migration(
        migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddField("new", "text", models.TextField(default="")),
        migrations.AddIndex("new", models.Index(fields=["text"], name="by_text")),
    )
    assert list(problems("builds", migration)) == []
