import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0007_nodes'),
    ]

    operations = [
        migrations.AddField(
            model_name='vmcounters',
            name='closed',
            field=models.BooleanField(default=False, help_text="Whether these are the run's last, read as it ended."),
        ),
        migrations.CreateModel(
            name='Unread',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('begin', models.DateTimeField()),
                ('end', models.DateTimeField()),
                ('vm', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='vms.vm')),
            ],
            options={
                'indexes': [models.Index(fields=['vm', 'end'], name='unread_vm')],
            },
        ),
    ]
