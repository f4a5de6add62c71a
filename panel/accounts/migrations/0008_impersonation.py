from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def end_impersonation(apps: Any, schema_editor: Any) -> None:
    """Sessions of administrators in users' accounts end: what they hold names their administrator by the older word."""
    apps.get_model("accounts", "BrowserSession").objects.exclude(opened_by=None).delete()


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_withheld")]

    operations = [
        migrations.RunPython(end_impersonation, migrations.RunPython.noop),
        migrations.RenameField("browsersession", "opened_by", "impersonated_by"),
        migrations.AlterField(
            "browsersession",
            "impersonated_by",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="impersonating_sessions",
                to="accounts.user",
            ),
        ),
        migrations.RenameField("journalentry", "opened_by", "impersonated_by"),
    ]
