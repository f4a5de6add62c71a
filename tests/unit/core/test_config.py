"""How vmpanel.conf is read."""

from __future__ import annotations

import pytest

from panel.config import parse
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
