from django.db import migrations, models


def name_owners(apps, schema_editor):
    """What the owners are called now; of those who are no more nobody wrote it down."""
    Entry, User = apps.get_model('usage', 'Entry'), apps.get_model('accounts', 'User')
    for pk, name in User.objects.values_list('pk', 'name').iterator(chunk_size=1000):
        Entry.objects.filter(owner_id=pk, owner_name='').update(owner_name=name)


class Migration(migrations.Migration):

    dependencies = [
        ('usage', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='entry',
            name='order',
            field=models.CharField(blank=True, choices=[('failed', 'Failed'), ('cancelled', 'Cancelled')], default='', help_text='Of a VM whose creation did not succeed: why.', max_length=16),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='entry',
            name='owner_name',
            field=models.CharField(blank=True, default='', help_text='What the owner was called then.', max_length=64),
            preserve_default=False,
        ),
        migrations.AddIndex(
            model_name='entry',
            index=models.Index(fields=['owner_name', 'owner'], name='entry_owner_name'),
        ),
        migrations.RunPython(name_owners, migrations.RunPython.noop),
    ]
