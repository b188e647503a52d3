"""What targets knew, images know: in one statement, whatever their number."""

from typing import Any

from django.db import migrations
from django.db.models import Case, Exists, OuterRef, Subquery, Value, When

STATES = {
    "queued": ["queued"],
    "building": ["building", "pushing", "cancelling"],
    "failed": ["failed", "lost"],
    "cancelled": ["cancelled"],
}


def tell(apps: Any, schema_editor: Any) -> None:
    target = apps.get_model("builds", "Target").objects.filter(pk=OuterRef("target_id"))
    build = apps.get_model("builds", "Build").objects.filter(current_of=OuterRef("target_id"))
    states = [
        When(Exists(build.filter(status__in=statuses)), then=Value(state))
        for state, statuses in STATES.items()
    ]
    apps.get_model("images", "Image").objects.update(
        current_id=Subquery(target.values("current_id")[:1]),
        good_id=Subquery(target.values("good_id")[:1]),
        created_at=Subquery(target.values("created_at")[:1]),
        state=Case(*states, default=Value("succeeded")),
    )


class Migration(migrations.Migration):
    dependencies = [("images", "0006_standing")]

    operations = [migrations.RunPython(tell, migrations.RunPython.noop)]
