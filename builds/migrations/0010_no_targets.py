"""Remove the table of targets: images have their columns now."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("builds", "0009_pushing_at"), ("images", "0008_no_targets")]

    operations = [migrations.DeleteModel(name="Target")]
