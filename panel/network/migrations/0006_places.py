"""Addresses and ranges know their numbers, by which the database finds free addresses."""

from django.db import migrations, models

import panel.network.places
from panel.network.places import place_of


def fill(apps, schema_editor):
    for each in apps.get_model("network", "Address").objects.all().iterator():
        apps.get_model("network", "Address").objects.filter(pk=each.pk).update(place=place_of(each.ip))
    for each in apps.get_model("network", "IpPool").objects.all():
        each.save(update_fields=["first_place", "last_place"])


class Migration(migrations.Migration):

    dependencies = [
        ('network', '0005_address_terms'),
    ]

    operations = [
        migrations.AddField(
            model_name='address',
            name='place',
            field=panel.network.places.PlaceField(default=0, of='ip'),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='ippool',
            name='first_place',
            field=panel.network.places.PlaceField(default=0, of='first'),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='ippool',
            name='last_place',
            field=panel.network.places.PlaceField(default=0, of='last'),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='address',
            index=models.Index(fields=['network', 'place'], name='addresses_in_order'),
        ),
    ]
