"""Security groups and their rules."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Security groups and their rules."""

    dependencies = [
        ('network', '0008_node_links'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='SecurityGroup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=63)),
                ('description', models.CharField(blank=True, max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('members', models.CharField(blank=True, help_text='A digest of the addresses that nodes were told are in it.', max_length=64)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='security_groups', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='SecurityRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('direction', models.CharField(choices=[('in', 'in'), ('out', 'out')], max_length=3)),
                ('protocol', models.CharField(help_text='any, tcp, udp or icmp.', max_length=4)),
                ('first_port', models.PositiveIntegerField(default=0, help_text='0: all ports.')),
                ('last_port', models.PositiveIntegerField(default=0)),
                ('cidr', models.CharField(blank=True, max_length=64)),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rules', to='network.securitygroup')),
                ('peer', models.ForeignKey(help_text="The group whose interfaces' addresses it is for.", null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='named_in', to='network.securitygroup')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.AddConstraint(
            model_name='securitygroup',
            constraint=models.UniqueConstraint(fields=('owner', 'name'), name='one_security_group_name_an_owner'),
        ),
    ]
