"""What pages say has a Russian sentence with the same fields, and stands nowhere but where it is translated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.db.models.enums import Choices
from django.template.base import Lexer, TokenType
from django.utils.translation.template import templatize

from panel.api.models import BatchState, Undo
from panel.core import catalogue, permissions, wording
from panel.core.catalogue import Entry
from panel.monitoring.models import Step
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.vms.models import Purpose
from panel.web import words

TOP = Path(__file__).parents[3]
TEMPLATES = TOP / "templates/html"
UNCONVERTED: set[str] = set()
"""Templates that still have English outside of {% translate %}. It is to become empty."""
UNCONVERTED_SCRIPTS: set[str] = set()
"""Scripts that still have English of their own instead of words that the page gives them. It is to become empty."""
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`')
PROSE = re.compile(r"[A-Z][a-z]+(?:[ ,;:’'·]+[A-Za-z·]+)*[.?!…]?(?: .*)?")
LATIN = re.compile(r"[A-Za-z][A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
NAMES = {
    "AAAA", "Alt", "API", "api-key", "BIOS", "CD-ROM", "cloud-init", "CPU", "CSV", "Ctrl", "CURVE", "db8", "Debian",
    "Del", "Esc", "Express", "F1", "F2", "F4", "i440FX", "IP", "IPv4", "IPv6", "ISO", "JavaScript", "KVM", "LDAP",
    "libvirt", "libvirtd", "MAC", "MTU", "NAT", "PCI", "PowerDNS", "PTR", "Python", "Q35", "qcow2", "QEMU", "raw",
    "Redis", "RescueImage", "RHEL", "SATA", "SCSI", "SHA-256", "SHA256", "SSH", "ssh-ed25519", "sudo", "Super", "Tab",
    "TOTP", "UEFI", "URL", "UTC", "UUID", "virt-customize", "VirtIO", "virtio-scsi", "VLAN", "vmpanel", "vmwatch",
    "vmwatch-node", "VNC", "VXLAN", "web1",
}  # fmt: skip
"""What is called the same in each language."""
SPOKEN = ("title", "aria-label", "placeholder", "alt", "data-confirm")
"""Attributes that are shown or read out."""
UNSPOKEN = ("script", "style", "code", "pre", "kbd")
UNSHOWN = (Step, Undo, Purpose, BatchState)
"""States that the API or the panel itself knows; no page has a word for them."""
CALL = re.compile(r"\b(n?p?gettext(?:_lazy|_noop)?|_)\(")
GETTEXTS = {"gettext": 1, "_": 1, "gettext_lazy": 1, "gettext_noop": 1, "translated": 1}
WITH_PLURAL, WITH_CONTEXT = {"ngettext", "ngettext_lazy"}, {"pgettext", "pgettext_lazy"}
FIELD = re.compile(r"%\((\w+)\)|\{(\w+)[^}]*\}")


def russian() -> dict[str, Entry]:
    """The catalogue, by keys as gettext has them."""
    return {each.key: each for each in catalogue.entries(wording.folder_of("ru"))}


def keys_of(tree: ast.AST) -> Iterator[str]:
    """The messages that gettext's functions are called for."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        said = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if name in GETTEXTS and said:
            yield said[0]
        elif name in WITH_CONTEXT:
            yield f"{said[0]}\4{said[1]}"
        elif name in WITH_PLURAL:
            yield f"{said[0]}\0{said[1]}"
        elif name in ("npgettext", "npgettext_lazy"):
            yield f"{said[0]}\4{said[1]}\0{said[2]}"


def keys_of_template(path: Path) -> Iterator[str]:
    """The messages of a template's tags."""
    text = templatize(path.read_text(encoding="utf-8"))
    for found in CALL.finditer(text):
        yield from keys_of(ast.parse(text[found.start() : _end(text, found.end())]))


def _end(text: str, start: int) -> int:
    """Behind the parenthesis that closes a call; those in its texts do not count."""
    for end in (found.end() for found in re.finditer(r"\)", text[start:])):
        try:
            ast.parse(f"f({text[start : start + end]}")
        except SyntaxError:
            continue
        return start + end
    raise AssertionError(text[start : start + 80])


def spoken() -> dict[str, set[str]]:
    """All messages of the pages, by where they are."""
    found = {str(path.relative_to(TOP)): set(keys_of_template(path)) for path in sorted(TEMPLATES.rglob("*.html"))}
    for path in sorted((TOP / "panel/web").rglob("*.py")):
        found[str(path.relative_to(TOP))] = set(keys_of(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def test_every_message_of_the_pages_has_a_russian_one() -> None:
    there = russian()
    missing = {where: sorted(keys - there.keys()) for where, keys in spoken().items() if keys - there.keys()}
    assert not missing, "\n".join(f"{where}: {keys}" for where, keys in missing.items())


def test_translations_have_the_fields_of_their_messages() -> None:
    def fields(text: str) -> set[tuple[str, str]]:
        return set(FIELD.findall(text))

    wrong = [
        each.msgid
        for each in russian().values()
        if each.msgid
        for text in each.msgstr.values()
        # What is said of one thing may leave its number out.
        if not fields(text) <= fields(each.msgid) | fields(each.msgid_plural)
        or (not each.msgid_plural and fields(text) != fields(each.msgid))
    ]
    assert not wrong


def test_messages_with_a_number_have_all_of_their_three_forms() -> None:
    assert not [each.msgid for each in russian().values() if each.msgid_plural and set(each.msgstr) != {0, 1, 2}]


class Spoken(HTMLParser):
    """Collects what of a page is shown or read out."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Its attributes."""
        if tag in UNSPOKEN:
            self.inside.append(tag)
        for name, value in attrs:
            if name in SPOKEN or (name == "value" and ("type", "submit") in attrs):
                self.handle_data(value or "")

    def handle_endtag(self, tag: str) -> None:
        """What follows is spoken again."""
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self.inside and data.strip():
            self.said.append(" ".join(data.split()))


def has_words(text: str) -> bool:
    """Whether it has words in Latin letters that are not called so in each language."""
    return any(word not in NAMES for word in LATIN.findall(text))


def bare_in(template: str) -> list[str]:
    """The English of a template that no tag translates."""
    kept, skipping = [], False
    for token in Lexer(template).tokenize():
        word = token.contents.split(maxsplit=1)[0] if token.contents.strip() else ""
        if token.token_type == TokenType.TEXT:
            kept.append("" if skipping else token.contents)
        elif token.token_type == TokenType.BLOCK and word.startswith(("blocktrans", "comment")):
            skipping = True
        elif token.token_type == TokenType.BLOCK and word.startswith(("endblocktrans", "endcomment")):
            skipping = False
        elif token.token_type == TokenType.VAR and not skipping:
            kept.append("·")
    parser = Spoken()
    parser.feed("".join(kept))
    parser.close()
    return [said for said in parser.said if has_words(said)]


def test_templates_say_nothing_outside_of_translations() -> None:
    found = {str(path.relative_to(TEMPLATES)): bare_in(path.read_text()) for path in sorted(TEMPLATES.rglob("*.html"))}
    found = {name: said for name, said in found.items() if said}
    new = {name: said for name, said in found.items() if name not in UNCONVERTED}
    assert not new, "\n".join(f"{name}: {said}" for name, said in new.items())
    assert found.keys() >= UNCONVERTED, f"take what is converted from the list: {sorted(UNCONVERTED - found.keys())}"


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("<p>Hello {{ name }}</p>", ["Hello ·"]),
        ("<p>{% translate 'Hello' %} {{ name }}</p>", []),
        ("{% blocktranslate %}Hello{% endblocktranslate %}<b {% if x %}title='Go on'{% endif %}>", ["Go on"]),
        ("<code>virsh list</code> vmpanel · 7<script>let a = 'b';</script>{# A comment. #}", []),
        ("<input placeholder='{{ name }}' type='submit' value='Send'>", ["Send"]),
    ],
)
def test_what_is_english_in_a_template(template: str, found: list[str]) -> None:
    assert bare_in(template) == found


def prose_in(script: str) -> list[str]:
    """The strings of a script that read as words for people."""
    code = re.sub(r"/\*.*?\*/", "", re.sub(r"(?m)^\s*//.*$", "", script), flags=re.DOTALL)
    found = [re.sub(r"\$\{[^}]*\}", "·", one or other) for one, other in STRING.findall(code)]
    return [each for each in found if PROSE.fullmatch(each)]


def test_scripts_have_no_words_of_their_own() -> None:
    scripts = sorted((TOP / "panel/web/static/web").glob("*.js"))
    found = {path.name: said for path in scripts if (said := prose_in(path.read_text(encoding="utf-8")))}
    assert not {name: said for name, said in found.items() if name not in UNCONVERTED_SCRIPTS}
    assert found.keys() >= UNCONVERTED_SCRIPTS, f"take what is converted: {UNCONVERTED_SCRIPTS - found.keys()}"


def test_every_parameter_of_an_operation_has_a_label() -> None:
    missing = {
        f"{operation.name}.{name}"
        for operation in registry.every()
        for name in operation.params.model_fields
        if name not in words.PARAMETERS
    }
    assert not missing, "to be added to panel/web/words.py"


def said_by(operation: Declaration[object]) -> Iterator[str]:
    """What its button, its form and its question say."""
    yield operation.label
    if operation.warning:
        yield operation.warning
    for info in operation.params.model_fields.values():
        if info.description:
            yield info.description


def test_what_operations_say_has_a_russian_sentence() -> None:
    there = russian()
    missing = {said: each.name for each in registry.every() for said in said_by(each) if said not in there}
    assert not missing


def labels_of(cls: type[Choices]) -> Iterator[tuple[str, str]]:
    """The labels of all that a field of a row can be, with the names of their classes."""
    for each in cls.__subclasses__():
        if each.__module__.startswith("panel.") and each not in UNSHOWN:
            yield from ((str(label), each.__name__) for label in each.labels)
        yield from labels_of(each)


def test_rights_and_states_have_a_russian_name() -> None:
    there = {each.msgid for each in russian().values()}
    said = {**dict(labels_of(Choices)), **dict.fromkeys(permissions.RIGHTS.values(), "RIGHTS")}
    same = {label for label in said if set(LATIN.findall(label)) <= NAMES}
    assert not {label: where for label, where in said.items() if label not in there | same}
