"""Where the agent finds programs, whatever PATH it was started with."""

from __future__ import annotations

import pytest

from nodeagent.paths import with_system_folders


@pytest.mark.parametrize("path", ["", "/usr/bin:/bin", "/opt/own/bin::/usr/bin"])
def test_a_path_without_sbin_hides_no_program_of_the_system(path: str) -> None:
    found = with_system_folders(path).split(":")
    assert {"/usr/sbin", "/sbin", "/usr/bin", "/bin"} <= set(found)
    assert found[: len(path.split(":"))][:1] == [path.split(":")[0] or "/usr/local/sbin"]
    assert "" not in found
