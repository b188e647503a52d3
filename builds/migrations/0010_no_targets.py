"""Images are what is built: nothing stands between them and their builds any more."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("builds", "0009_pushing_at"), ("images", "0008_no_targets")]

    operations = [migrations.DeleteModel(name="Target")]
