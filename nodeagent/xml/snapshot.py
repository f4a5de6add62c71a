"""A domain's snapshot in libvirt's terms (https://libvirt.org/formatsnapshot.html)."""

from __future__ import annotations

from nodeagent.xml.builder import Children, Element, Property


class SnapshotDisk(Element):
    """What becomes of one disk: "internal" is kept in its file, "no" has no part in it."""

    TAG = "disk"
    name = Property("./@name")
    snapshot = Property("./@snapshot")


class Snapshot(Element):
    """A snapshot; `state` is libvirt's word for the domain's ("shutoff" is off)."""

    TAG = "domainsnapshot"
    name = Property("./name")
    state = Property("./state")
    memory = Property("./memory/@snapshot")
    created_at = Property("./creationTime", int)
    disks = Children("./disks/disk", SnapshotDisk)

    @property
    def is_external(self) -> bool:
        """Whether something of it is in a file of its own: an overlay, or the memory."""
        return "external" in (self.memory, *(disk.snapshot for disk in self.disks))
