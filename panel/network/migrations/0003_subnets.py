"""Subnets belong to a network, with their gateways, name servers and ranges."""

import ipaddress

import django.db.models.deletion
from django.db import migrations, models


def keep(apps, schema_editor):
    """Each network has the subnet that it had, with its ranges."""
    subnets = apps.get_model("network", "Subnet").objects
    for network in apps.get_model("network", "Network").objects.all():
        subnet = subnets.create(
            network=network,
            version=ipaddress.ip_network(network.subnet).version,
            cidr=network.subnet,
            gateway=network.gateway,
            nameservers=network.nameservers,
        )
        apps.get_model("network", "IpPool").objects.filter(network=network).update(subnet=subnet)


class Migration(migrations.Migration):

    dependencies = [
        ('network', '0002_kinds'),
    ]

    operations = [
        migrations.CreateModel(
            name='Subnet',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.PositiveSmallIntegerField(choices=[(4, 'IPv4'), (6, 'IPv6')])),
                ('cidr', models.CharField(help_text='As 10.77.0.0/24 or 2001:db8::/64.', max_length=64)),
                ('gateway', models.GenericIPAddressField(help_text='Null: none, as of a network of its own.', null=True)),
                ('nameservers', models.JSONField(default=list)),
                ('network', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='subnets', to='network.network')),
            ],
            options={
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('network', 'cidr'), name='one_subnet_a_network')],
            },
        ),
        migrations.AddField(
            model_name='ippool',
            name='subnet',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='ranges', to='network.subnet'),
        ),
        migrations.RunPython(keep, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='ippool',
            name='subnet',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='ranges', to='network.subnet'),
        ),
        migrations.AlterModelOptions(name='ippool', options={'ordering': ['id']}),
        migrations.RemoveField(model_name='ippool', name='network'),
        migrations.RemoveField(model_name='network', name='subnet'),
        migrations.RemoveField(model_name='network', name='gateway'),
        migrations.RemoveField(model_name='network', name='nameservers'),
    ]
