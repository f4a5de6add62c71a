from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def mark(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Signing in called its tokens so, without end: they give way to later ones too."""
    tokens = apps.get_model("accounts", "Token").objects
    tokens.filter(name="sign-in", expires_at=None, rights=None).update(by_sign_in=True)


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0005_security_keys"),
    ]

    operations = [
        migrations.AddField("token", "by_sign_in", models.BooleanField(default=False)),
        migrations.RunPython(mark, migrations.RunPython.noop),
    ]
