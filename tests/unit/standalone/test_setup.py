"""What script/server leaves on disk: configuration, certificate, the supervisor's programs."""

from __future__ import annotations

import configparser
import shlex
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from panel import config
from panel.standalone.options import IMAGES, parse
from panel.standalone.private import Unfit
from panel.standalone.setup import Layout, make_certificate, write_configuration
from panel.standalone.supervisor import configuration, programs


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Folders of an installation in a place of its own."""
    layout = Layout(parse(["--var", str(tmp_path / "var")]))
    layout.make()
    return layout


def write(layout: Layout, *arguments: str) -> config.Config:
    options = parse(["--var", str(layout.var), *arguments])
    write_configuration(layout, options, layout.run / "mysql.sock", layout.run / "redis.sock")
    return config.load(str(layout.conf))


def test_configuration_is_one_that_the_panel_reads(layout: Layout) -> None:
    read = write(layout, "--port", "1501")
    assert (read.var_dir, read.listen_port) == (layout.var, 1501)
    assert read.database_socket == str(layout.run / "mysql.sock")
    assert layout.conf.stat().st_mode & 0o777 == 0o600


def test_options_that_an_administrator_added_stay(layout: Layout) -> None:
    write(layout)
    with layout.conf.open("a", encoding="utf-8") as file:
        file.write("WorkerConcurrency=9\n")
    read = write(layout, "--port", "1502")
    assert (read.worker_concurrency, read.listen_port) == (9, 1502)
    assert layout.conf.read_text(encoding="utf-8").count("# Written by") == 1


def test_certificate_names_this_machine_and_its_key_is_root_s_alone(layout: Layout) -> None:
    assert make_certificate(layout)
    made = x509.load_pem_x509_certificate((layout.tls / "panel.crt").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert (layout.tls / "panel.key").stat().st_mode & 0o777 == 0o600
    ssl.create_default_context().load_verify_locations(str(layout.tls / "panel.crt"))


def test_certificate_stays_the_same_at_the_next_start(layout: Layout) -> None:
    make_certificate(layout)
    before = (layout.tls / "panel.crt").read_bytes()
    assert not make_certificate(layout)
    assert (layout.tls / "panel.crt").read_bytes() == before


def test_long_folder_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    layout = Layout(parse(["--var", str(tmp_path / ("deep" * 30))]))
    assert layout.run.parent == Path("/run")


def test_supervisor_gets_each_command_as_it_is_meant(tmp_path: Path) -> None:
    layout = Layout(parse(["--var", str(tmp_path / "a folder 100%")]))
    chosen = programs(layout, 4)
    parser = configparser.RawConfigParser()
    parser.read_string(configuration(layout, chosen))
    for program in chosen:
        command = parser[f"program:{program.name}"]["command"]
        assert shlex.split(command % {}) == program.argv


def test_path_that_would_break_the_supervisor_s_configuration_is_refused(tmp_path: Path) -> None:
    layout = Layout(parse(["--var", str(tmp_path / 'a"b')]))
    with pytest.raises(Unfit):
        configuration(layout, programs(layout, 4))


def test_options_say_which_image_the_first_vm_has() -> None:
    assert parse([]).images == IMAGES
    assert parse([]).first_vm == "debian-12"
    assert parse(["--images", "tiny"]).first_vm == "tiny"
    assert parse(["--no-first-vm"]).first_vm is None


def test_unfit_port_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--port", "99999"])
    assert "--port must be 1 to 65535" in capsys.readouterr().err


def test_the_first_network_s_range_is_written_and_stays_at_the_next_start(layout: Layout) -> None:
    assert write(layout).first_network == ""
    assert write(layout, "--network", "10.88.0.0/24").first_network == "10.88.0.0/24"
    assert write(layout).first_network == "10.88.0.0/24"


@pytest.mark.parametrize("network", ["10.88.0.1/24", "10.88.0.0/28", "8.8.0.0/16", "fd00::/64", "x"])
def test_an_unfit_range_ends_with_a_sentence(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--network", network])
    assert "must be a private IPv4 network of 16 to 27 bits, as 10.77.0.0/24" in capsys.readouterr().err
