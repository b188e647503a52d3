"""What operators ask for is kept for everything that they act on, not for images alone."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("images", "0008_no_targets"), ("operators", "0002_take_over")]

    operations = [
        migrations.DeleteModel(name="BulkItem"),
        migrations.DeleteModel(name="BulkAction"),
    ]
