"""etc/vmpanel.conf, which packages install, tells of every option, and of nothing else."""

from __future__ import annotations

import re

from panel.config import parse
from panel.option_list import documented, worded
from panel.options import OPTIONS
from panel.standalone.options import TOP

AGAIN = "write panel.option_list.documented() to etc/vmpanel.conf again"


def test_it_is_what_the_options_say() -> None:
    assert (TOP / "etc" / "vmpanel.conf").read_text() == documented(), AGAIN


def test_as_it_is_nothing_is_set_and_every_line_of_it_can_be() -> None:
    text = documented()
    assert not parse(text).named
    # An empty value is what some options are by default, and no file may say.
    told = re.sub(r"^#([A-Z]\w*=.+)$", r"\1", text, flags=re.MULTILINE)
    config = parse(told)
    for option in OPTIONS:
        assert worded(option, getattr(config, option.attribute)) == worded(option, option.default), option.name
