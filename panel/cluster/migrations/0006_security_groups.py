"""Cluster.unsecured."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Cluster.unsecured."""

    dependencies = [
        ('cluster', '0005_guests_reach'),
    ]

    operations = [
        migrations.AddField(
            model_name='cluster',
            name='unsecured',
            field=models.CharField(choices=[('allow', 'Everything'), ('deny-in', 'What the VM sends, and answers to it')], default='allow', help_text='What passes at interfaces that have no security group.', max_length=16),
        ),
    ]
