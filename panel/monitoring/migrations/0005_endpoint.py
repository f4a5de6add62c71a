from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0004_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='watchkeys',
            name='enabled_at',
            field=models.DateTimeField(help_text='Since when it is to listen there.', null=True),
        ),
        migrations.AddField(
            model_name='watchkeys',
            name='endpoint',
            field=models.CharField(
                blank=True, help_text='Where vmwatch-master listens; empty: blocked.', max_length=255
            ),
        ),
        migrations.AddField(
            model_name='watchkeys',
            name='master_digest',
            field=models.CharField(blank=True, help_text='Which keys its file has.', max_length=16),
        ),
    ]
