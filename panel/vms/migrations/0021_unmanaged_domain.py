import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cluster", "0005_guests_reach"), ("vms", "0020_interface_addresses")]

    operations = [
        migrations.RenameModel("ForeignDomain", "UnmanagedDomain"),
        # The new constraint first: MySQL needs an index on "node" for its foreign key at each moment.
        migrations.AddConstraint(
            "unmanageddomain",
            models.UniqueConstraint(fields=["node", "uuid"], name="one_unmanaged_domain_a_node"),
        ),
        migrations.RemoveConstraint("unmanageddomain", "one_foreign_domain_a_node"),
        migrations.AlterField(
            "unmanageddomain",
            "node",
            models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="unmanaged_domains", to="cluster.node"
            ),
        ),
        migrations.AlterField(
            "unmanageddomain",
            "details",
            models.JSONField(
                default=dict, help_text="What vm.take-over must know (protocol.audit.UnmanagedDetails)."
            ),
        ),
    ]
