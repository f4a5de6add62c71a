"""Interface.security_groups."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Interface.security_groups."""

    dependencies = [
        ('network', '0009_security_groups'),
        ('vms', '0023_address_terms'),
    ]

    operations = [
        migrations.AddField(
            model_name='interface',
            name='security_groups',
            field=models.ManyToManyField(help_text="None: what the cluster's policy says.", related_name='interfaces', to='network.securitygroup'),
        ),
    ]
