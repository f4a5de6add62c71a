from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("mgrapi", "0001_classic")]

    operations = [
        migrations.AddField(
            model_name="classicsession",
            name="handed_over_at",
            field=models.DateTimeField(null=True),
        ),
    ]
