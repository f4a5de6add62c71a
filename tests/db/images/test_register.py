"""manage.py image_register."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from panel.images.models import Flavor, Image


@pytest.mark.django_db
def test_a_panel_without_images_gets_its_first_flavors_and_no_error() -> None:
    Flavor.objects.all().delete()
    call_command("image_register")
    assert Flavor.objects.exists() and not Image.objects.exists()
