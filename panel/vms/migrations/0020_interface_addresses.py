"""An interface has none to many addresses, one of them primary for each version of IP."""

import django.db.models.deletion
from django.db import migrations, models

AT_ONCE = 1000


def keep(apps, schema_editor):
    """Each interface has the address that it had."""
    held, interfaces = apps.get_model("vms", "InterfaceAddress"), apps.get_model("vms", "Interface").objects
    pairs = interfaces.order_by("pk").values_list("pk", "address_id", "address__ip").iterator(AT_ONCE)
    rows = (
        held(interface_id=pk, address_id=address, primary=6 if ":" in ip else 4) for pk, address, ip in pairs
    )
    held.objects.bulk_create(rows, batch_size=AT_ONCE)


class Migration(migrations.Migration):

    dependencies = [
        ('network', '0002_kinds'),
        ('vms', '0019_auxiliary_disk'),
    ]

    operations = [
        migrations.CreateModel(
            name='InterfaceAddress',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('primary', models.PositiveSmallIntegerField(help_text="The version of IP of which it is the interface's primary address; null: of none.", null=True)),
                ('address', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='held', to='network.address')),
                ('interface', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='held', to='vms.interface')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('interface', 'primary'), name='one_primary_a_version')],
            },
        ),
        migrations.RunPython(keep, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name='interface',
            name='address',
        ),
    ]
