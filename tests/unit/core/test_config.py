"""How vmpanel.conf is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from panel.config import load, parse
from panel.core.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("LdapBindPassword=secret", "secret"),
        ("LdapBindPassword= secret ", " secret "),
        ("LdapBindPassword = secret ", "secret "),
        ("LdapBindPassword =  secret", " secret"),
        ("  LdapBindPassword=\tse=cr#et\t", "\tse=cr#et\t"),
        ("LdapBindPassword=se\x0ccr\x85et\u2028", "se\x0ccr\x85et\u2028"),
        ("LdapBindPassword=secret \r", "secret "),
    ],
)
def test_blanks_of_a_password_count_in_the_configuration(line: str, password: str) -> None:
    read = parse(f"# a comment\n\n{line}\nDatabasePassword= p \n ListenPort = 1501 \r\n")
    assert (read.ldap_bind_password, read.database_password, read.listen_port) == (password, " p ", 1501)


def test_a_line_that_is_none_is_told_with_its_number() -> None:
    with pytest.raises(ConfigError, match=":3: expected NAME=VALUE"):
        parse("# a comment\n\n nonsense \n")


def test_what_needs_no_restart_is_taken_over_when_the_file_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "vmpanel.conf"
    file.write_text("ShutdownSeconds=5\nRetrySeconds=5\n")
    config = load(str(file))
    assert config.named == {"ShutdownSeconds", "RetrySeconds"}
    file.write_text("TaskDays=12\nRetrySeconds=777\n")
    config.refresh()
    assert (config.shutdown_seconds, config.task_days, config.retry_seconds) == (60.0, 12, 5.0)
    assert config.named == {"TaskDays", "RetrySeconds"}
    for wrong in ("TaskDays=many\n", "NoSuchOption=1\n"):
        file.write_text(wrong)
        config.refresh()
        assert config.task_days == 12
    assert len(caplog.records) == 2
    config.refresh()
    assert len(caplog.records) == 2
    file.unlink()
    config.refresh()
    assert config.task_days == 90
