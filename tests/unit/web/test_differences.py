"""What a VM's differences are called on its page."""

from __future__ import annotations

import pytest

from panel.web import differences


@pytest.mark.parametrize(
    ("found", "row"),
    [
        (("memory_mib", 512, 1024), ("Memory, MiB", "512", "1024")),
        (("autostart", False, True), ("Starts with its node", "No", "Yes")),
        (("boot", ["cdrom", "disk"], ["disk"]), ("Boot order", "ISO image, then disk", "Disk")),
        (
            ("disk vda limits", None, "read_bytes_sec 50000000, write_iops_sec 200"),
            ("Limits of disk vda", "none", "read 47.7 MiB/s, write 200 requests/s"),
        ),
        (
            ("interface 52:54:00:00:00:01 limits", "inbound_average 2048, outbound_average 100", None),
            ("Limits of interface 52:54:00:00:00:01", "in 2 MiB/s, out 100 KiB/s", "none"),
        ),
        # Whoever uses virsh may call a device as he likes.
        (("disk a limits", "/a b, x", None), ("Limits of disk a", "/a b, x", "none")),
    ],
)
def test_a_difference_is_told_in_the_words_of_the_form(
    found: tuple[str, object, object], row: tuple[str, str, str]
) -> None:
    field, node, stored = found
    assert differences.table([{"field": field, "node": node, "stored": stored}], "node", "stored") == [row]
