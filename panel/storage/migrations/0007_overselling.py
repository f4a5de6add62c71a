from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("storage", "0006_shared_volumes")]

    operations = [
        migrations.AddField(
            model_name="pool",
            name="disk_overselling_percent",
            field=models.PositiveSmallIntegerField(
                help_text="How much of its size may be promised to disks; none: what the cluster says.",
                null=True,
                validators=[MinValueValidator(50), MaxValueValidator(10000)],
            ),
        ),
    ]
