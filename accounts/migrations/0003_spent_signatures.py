from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_api_keys")]

    operations = [
        migrations.CreateModel(
            name="SpentSignature",
            fields=[
                ("signature", models.BinaryField(max_length=64, primary_key=True, serialize=False)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(models.F("expires_at"), name="accounts_spent_expires_at")],
            },
        ),
    ]
