"""A backup of a domain's disks in libvirt's terms (https://libvirt.org/formatbackup.html)."""

from __future__ import annotations

from nodeagent.xml.builder import Children, Element, Property


class BackupDisk(Element):
    """What becomes of one disk: `backup` is "yes" or "no"; `target_file` is what libvirt makes and fills."""

    TAG = "disk"
    name = Property("./@name")
    backup = Property("./@backup")
    type = Property("./@type")
    driver_type = Property("./driver/@type")
    target_file = Property("./target/@file")


class Backup(Element):
    """A backup; in the mode "push" QEMU writes the targets itself."""

    TAG = "domainbackup"
    mode = Property("./@mode")
    disks = Children("./disks/disk", BackupDisk)
