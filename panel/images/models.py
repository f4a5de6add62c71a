"""OS images and flavors. The files of images are in the panel's VarDir/images; nodes get copies."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models


class Customization(models.TextChoices):
    """How a new guest learns who it is."""

    CLOUD_INIT = "cloud-init", "cloud-init (NoCloud seed)"
    VIRT_CUSTOMIZE = "virt-customize", "virt-customize"


class Image(models.Model):
    """A disk with an installed OS that new VMs are copied from."""

    name = models.SlugField(max_length=64, unique=True)
    title = models.CharField(max_length=128)
    os_family = models.CharField(max_length=32)
    file_name = models.CharField(max_length=128)
    format = models.CharField(max_length=8, default="qcow2")
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    virtual_bytes = models.BigIntegerField()
    customization = models.CharField(max_length=16, choices=Customization.choices, default=Customization.CLOUD_INIT)
    login = models.CharField(max_length=32, default="root")
    reachable_port = models.PositiveIntegerField(default=22)
    min_memory_mib = models.PositiveIntegerField(default=64)
    min_disk_gib = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The image's file beside the panel."""
        return Path(settings.CONFIG.images_dir) / self.file_name


class Iso(models.Model):
    """An ISO image that can lie in a VM's drive: an installer, a rescue system, drivers.

    One without an owner is there for all. `shared_name` is the name of such a one and null of others, so that the
    database sees to it that no two of them have the same: of null owners it would not.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="isos")
    name = models.SlugField(max_length=64)
    shared_name = models.SlugField(max_length=64, null=True, unique=True)
    title = models.CharField(max_length=128)
    file_name = models.CharField(max_length=128)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()

    class Meta:
        ordering = ["name"]
        verbose_name = "ISO image"
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_iso_name_an_owner")]
        indexes = [models.Index(fields=["name"], name="iso_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The ISO's file beside the panel."""
        return Path(settings.CONFIG.images_dir) / self.file_name


class Flavor(models.Model):
    """A named size of a VM (page: VM template; classic API: preset)."""

    name = models.SlugField(max_length=64, unique=True)
    title = models.CharField(max_length=128)
    memory_mib = models.PositiveIntegerField()
    vcpus = models.PositiveIntegerField()
    disk_gib = models.PositiveIntegerField()

    class Meta:
        ordering = ["memory_mib", "name"]

    def __str__(self) -> str:
        return self.name
