import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("storage", "0007_overselling"), ("vms", "0018_observed_job")]

    operations = [
        migrations.RenameModel("Spare", "AuxiliaryDisk"),
        # The new constraint first: MySQL needs an index on "vm" for its foreign key at each moment.
        migrations.AddConstraint(
            "auxiliarydisk",
            models.UniqueConstraint(fields=["vm", "purpose"], name="one_auxiliary_disk_a_purpose"),
        ),
        migrations.RemoveConstraint("auxiliarydisk", "one_spare_a_purpose"),
        migrations.AlterField(
            "auxiliarydisk",
            "vm",
            models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="auxiliary_disks", to="vms.vm"
            ),
        ),
        migrations.AlterField(
            "auxiliarydisk",
            "volume",
            models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="auxiliary_disk", to="storage.volume"
            ),
        ),
    ]
