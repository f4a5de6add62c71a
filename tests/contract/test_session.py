"""The panel's ssh session against a real sshd: host keys, signing in, files, the agent, a lost connection."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from nodeagent.protocol import host, storage
from nodeagent.protocol import node as machine
from panel.cluster import agent_package, answers, session, ssh
from panel.cluster.client import NodeAddress, Progress
from panel.cluster.porter import Porter
from panel.core import request_id
from panel.core.errors import Cancelled, CommandFailed, NodeRefused, NodeTimeout, NodeUnreachable
from tests.contract.local_agent import until
from tests.contract.private_sshd import SSHD, Sshd, running
from tests.refs import directory

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(SSHD).exists() or shutil.which("unshare") is None,
    reason="a private sshd needs root, sshd and unshare",
)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A node to sign in to."""
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
def connection(sshd: Sshd) -> Iterator[ssh.Connection]:
    """A connection by password."""
    connection = ssh.open_connection(sshd.address())
    yield connection
    connection.close()


@pytest.fixture
def porter(connection: ssh.Connection) -> Iterator[Porter]:
    """A porter on it."""
    with connection.porter() as porter:
        yield porter


@pytest.fixture
def client(sshd: Sshd, connection: ssh.Connection) -> Iterator[session.Session]:
    """A session with the panel's programs on the node, by key."""
    with connection.porter() as porter:
        porter.authorize_key(sshd.public_key)
    client = session.Session(sshd.address(password=None, key_path=str(sshd.key_path)))
    yield client
    client.close()
    with connection.porter() as porter:
        porter.deauthorize_key(sshd.public_key)


def test_the_host_key_is_read_before_anything_is_told(sshd: Sshd) -> None:
    assert ssh.read_host_key(sshd.address(password=None, host_key="")) == sshd.host_key


def test_another_host_key_than_the_pinned_one_is_refused_before_signing_in(sshd: Sshd) -> None:
    other = sshd.host_key.replace("AAAAIK", "AAAAIL") if "AAAAIK" in sshd.host_key else sshd.host_key[:-4] + "AAAA"
    with pytest.raises(NodeRefused, match="host key"):
        ssh.open_connection(sshd.address(host_key=other, password="never sent"))


def test_without_a_pinned_key_the_shown_one_can_be_read(sshd: Sshd) -> None:
    connection = ssh.open_connection(sshd.address(host_key=""))
    assert connection.host_key == sshd.host_key
    connection.close()


def test_a_wrong_password_and_an_unknown_key_are_refused(sshd: Sshd) -> None:
    with pytest.raises(NodeRefused, match="key or password"):
        ssh.open_connection(sshd.address(password="wrong"))
    with pytest.raises(NodeRefused, match="key or password"):
        ssh.open_connection(sshd.address(password=None, key_path=str(sshd.key_path)))
    with pytest.raises(NodeRefused, match="neither"):
        ssh.open_connection(sshd.address(password=None))


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NodeUnreachable):
        ssh.open_connection(NodeAddress("gone", "127.0.0.1", port, password="x"))


def test_a_port_that_speaks_no_ssh_is_unreachable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(NodeUnreachable):
        ssh.open_connection(NodeAddress("mute", "127.0.0.1", silent.getsockname()[1], password="x"), seconds=1)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-\xff\xfe\r\n" + bytes(range(256)) * 4,
        b"SSH-1.5-old\r\n",
        b"\x00" * 300,
    ],
    ids=["http", "noise", "ssh 1", "nothing"],
)
def test_what_does_not_speak_ssh_is_unreachable(said: bytes) -> None:
    def speak() -> None:
        with contextlib.suppress(OSError), server.accept()[0] as peer:
            peer.sendall(said)
            peer.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=speak)
        thread.start()
        address = NodeAddress("mute", "127.0.0.1", server.getsockname()[1], password="x")
        with pytest.raises(NodeUnreachable):
            ssh.open_connection(address, seconds=1)
        thread.join(10)


def test_a_name_that_is_none_is_unreachable() -> None:
    with pytest.raises(NodeUnreachable, match=r"no host name"):
        ssh.open_connection(NodeAddress("odd", "a..example.com", password="x"))


@pytest.mark.parametrize("line", [b"5\n", b"[]\n", b"{}\n", b"\xff\n"])
def test_a_line_that_is_no_message_disturbs_no_call(client: session.Session, line: bytes) -> None:
    link = client.link()
    link._dispatch(line.strip())
    assert client.call(host.HostsRead()).hosts is not None
    assert client.link() is link


def test_after_an_answer_that_is_none_the_next_call_connects_anew(client: session.Session) -> None:
    link = client.link()
    link._lines = answers.Lines()
    # As if the agent had begun to say it.
    assert list(link._lines.feed(b'{"id": [], ')) == []
    with pytest.raises(NodeUnreachable, match="what is no answer"):
        client.call(host.HostsRead())
    assert client.call(host.HostsRead()).hosts is not None and client.link() is not link


def test_what_the_node_s_system_refuses_is_told_in_its_words_and_without_an_exception_s_name(
    client: session.Session,
) -> None:
    with pytest.raises(CommandFailed, match=r"The node's system refused: Not a directory \(/etc/hostname") as caught:
        client.call(storage.PoolEnsure(pool=directory("/etc/hostname/pool")))
    assert caught.value.data["agent_code"] == "system" and "Error" not in caught.value.message


def test_an_answer_that_cannot_be_read_is_an_error_of_ours(
    client: session.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.HostsRead, "RESULT", machine.Facts)
    with pytest.raises(CommandFailed, match="its agent answers otherwise than ours would"):
        client.call(host.HostsRead())


def test_a_key_that_was_let_in_signs_in_and_is_written_once(sshd: Sshd, porter: Porter) -> None:
    for _ in range(2):
        porter.authorize_key(sshd.public_key)
    assert sshd.authorized_keys == [sshd.public_key]
    for address in (
        sshd.address(password=None, key_path=str(sshd.key_path)),
        sshd.address(password=None, key=sshd.key_path.read_text()),
    ):
        ssh.open_connection(address).close()
    porter.deauthorize_key(sshd.public_key)
    assert sshd.authorized_keys == []


def test_a_key_is_let_in_beside_one_that_ends_without_a_newline(sshd: Sshd, porter: Porter) -> None:
    other = sshd.folder / "home/.ssh/authorized_keys"
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(b"ssh-rsa AAAA J\xfcrgen")
    porter.authorize_key(sshd.public_key)
    ssh.open_connection(sshd.address(password=None, key_path=str(sshd.key_path))).close()
    porter.deauthorize_key(sshd.public_key)
    assert other.read_bytes() == b"ssh-rsa AAAA J\xfcrgen\n"


def test_a_porter_says_what_the_host_is(porter: Porter) -> None:
    seen = porter.look()
    assert seen == {"os_release": Path("/etc/os-release").read_text(), "mark": seen["mark"], "user": 0}
    assert porter.python >= (3, 9)


def test_a_file_is_put_in_place_as_a_whole(sshd: Sshd, porter: Porter) -> None:
    path = sshd.folder / "new/folder/file"
    for content in (b"one", b"two" * 1_000_000, b""):
        porter.put(content, str(path), 0o600)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content, 0o600)
        assert porter.hashes(str(path), "/none") == {str(path): hashlib.sha256(content).hexdigest(), "/none": None}
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_file_that_cannot_be_put_leaves_nothing_and_the_porter_goes_on(porter: Porter, size: int) -> None:
    for path, reason in (("/dev/full/file", "/dev/full/file: File exists"), ("/proc/file", "/proc/file: No such file")):
        with pytest.raises(NodeRefused, match=reason):
            porter.put(b"x" * size, path, 0o600)
    assert porter.look()["user"] == 0


def test_an_upload_arrives_whole_and_reports_its_bytes(client: session.Session, tmp_path: Path) -> None:
    content = os.urandom(1024 * 1024) * 20 + b"the end"
    (tmp_path / "arrived").touch()
    (tmp_path / "image").write_bytes(content)
    reports: list[Progress] = []
    client.upload(tmp_path / "image", str(tmp_path / "arrived"), deadline=60, progress=reports.append)
    assert (tmp_path / "arrived").read_bytes() == content
    assert (reports[-1].done, reports[-1].total) == (len(content), len(content))
    assert [each.done for each in reports] == sorted(each.done for each in reports)


def test_an_upload_ends_with_its_deadline(client: session.Session, tmp_path: Path) -> None:
    (tmp_path / "arrived").touch()
    (tmp_path / "image").write_bytes(b"x" * 1024 * 1024)
    with pytest.raises(NodeTimeout):
        client.upload(tmp_path / "image", str(tmp_path / "arrived"), deadline=0)


def test_an_upload_to_where_there_is_no_file_is_refused_and_makes_none(client: session.Session, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    with pytest.raises(NodeRefused):
        client.upload(tmp_path / "image", str(tmp_path / "file"), deadline=10)
    assert not (tmp_path / "file").exists()


def test_an_upload_that_the_node_does_not_take_ends_when_it_is_cancelled(
    client: session.Session, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(b"x")
    # Nobody reads from it: whoever opens it waits.
    os.mkfifo(tmp_path / "arrived")

    def heed() -> None:
        raise Cancelled(by="admin")

    with pytest.raises(Cancelled):
        client.upload(tmp_path / "image", str(tmp_path / "arrived"), deadline=60, heed=heed)


def test_an_upload_whose_connection_dies_is_tried_again_not_given_up(
    connection: ssh.Connection, tmp_path: Path
) -> None:
    (tmp_path / "arrived").touch()
    (tmp_path / "image").write_bytes(b"x" * 1024 * 1024)

    def die(_progress: Progress) -> None:
        # What a dying transport does first: its channels are closed while it still calls itself active.
        for channel in connection.transport._channels.values():
            channel._unlink()
        assert connection.alive

    with pytest.raises(NodeUnreachable):
        connection.upload(tmp_path / "image", str(tmp_path / "arrived"), die)


def test_the_agent_answers_over_ssh_and_logs_the_request_id(client: session.Session, sshd: Sshd) -> None:
    token = request_id.bind("req-4711")
    try:
        assert client.call(machine.NodeFacts()).hostname == socket.gethostname()
    finally:
        request_id.reset(token)
    assert client.call(host.HostsRead()).hosts is not None
    log = sshd.folder / "root/var/log/vmpanel/nodeagent.log"
    until(lambda: "req-4711 node_facts: done" in log.read_text())


def test_a_stream_reaches_a_port_of_the_node_and_a_closed_port_is_named(client: session.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        channel = client.open_channel(port)
        peer, _ = server.accept()
        with peer:
            channel.settimeout(10)
            channel.sendall(b"ping")
            assert peer.recv(4) == b"ping"
            peer.sendall(b"pong")
            assert channel.recv(4) == b"pong"
        channel.close()
    with pytest.raises(NodeUnreachable):
        client.open_channel(port)


@pytest.mark.parametrize("error", [EOFError(), paramiko.SSHException("Channel closed."), OSError("Socket is closed")])
def test_a_connection_that_is_lost_while_a_call_is_sent_says_that_the_node_is_away(
    client: session.Session, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Which of them paramiko raises is a matter of the moment."""

    def lost(_data: bytes) -> None:
        raise error

    monkeypatch.setattr(client.link().channel, "sendall", lost)
    with pytest.raises(NodeUnreachable):
        client.call(host.HostsRead())
    assert client.call(host.HostsRead()).hosts == []


def test_a_lost_connection_fails_every_open_call_and_the_next_call_connects_again(client: session.Session) -> None:
    pid = client.link().hello["pid"]
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    outcomes: list[Exception] = []
    waiting = threading.Event()

    def wait() -> None:
        try:
            request = host.GuestWait(uuid=vm, address="127.0.0.1", port=free_port, timeout_seconds=60)
            client.call(request, deadline=60, progress=lambda _progress: waiting.set())
        except Exception as error:
            outcomes.append(error)

    vm = "11111111-2222-4333-8444-555555555555"
    client.call(host.HostCreate(spec=host.DomainSpec(vm, "vm", 64, 1, "qemu", [], [])))
    client.call(host.HostStart(uuid=vm))
    with socket.create_server(("127.0.0.1", 0)) as free:
        free_port = free.getsockname()[1]
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert waiting.wait(10)
    os.kill(parent, signal.SIGKILL)
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in outcomes] == [NodeUnreachable] * 3
    assert client.call(machine.NodeFacts()).hostname
    assert client.link().hello["pid"] != pid
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_process_has_one_session_a_node_until_it_is_forgotten(sshd: Sshd) -> None:
    address = sshd.address()
    assert session.get(address) is session.get(address)
    before = session.get(address)
    session.forget(address)
    assert session.get(address) is not before
    session.forget(address)


def replace_program(sshd: Sshd, content: bytes, path: str = agent_package.AGENT_PATH) -> None:
    """Have another program at the path."""
    with ssh_only(sshd) as connection, connection.porter() as porter:
        porter.put(content or b"", path, 0o644)


@pytest.mark.parametrize(
    "content",
    [b"", b'print(\'{"error": {"code": "version_mismatch", "data": {"agent": 0}}}\')', b"not a program"],
    ids=["an empty agent", "another protocol", "a damaged agent"],
)
def test_a_node_has_the_panel_s_own_programs_before_it_is_spoken_to(
    sshd: Sshd, client: session.Session, content: bytes
) -> None:
    replace_program(sshd, content)
    replace_program(sshd, b"older", agent_package.VMWATCH_PATH)
    assert client.call(machine.NodeFacts()).hostname
    with ssh_only(sshd) as connection, connection.porter() as porter:
        assert agent_package.bring(porter) == []


def test_programs_that_were_changed_meanwhile_are_replaced_and_the_new_agent_is_spoken_to(
    sshd: Sshd, client: session.Session
) -> None:
    assert client.update_programs() == []
    before = client.link().hello["pid"]
    replace_program(sshd, b"older", agent_package.VMWATCH_PATH)
    assert client.update_programs() == [agent_package.VMWATCH_PATH]
    assert client.link().hello["pid"] == before
    replace_program(sshd, b"older")
    assert client.update_programs() == [agent_package.AGENT_PATH]
    assert client.link().hello["pid"] != before
    assert client.update_programs() == []


def test_a_connection_that_died_unused_does_not_make_a_node_unreachable(client: session.Session) -> None:
    link = client.link()
    link.connection.close()
    until(lambda: link.lost)
    # What it looks like until the dead connection is noticed.
    link.connection.transport.is_active = lambda: True  # type: ignore[method-assign]
    link.lost = ""
    assert client.update_programs() == []
    assert client.call(machine.NodeFacts()).hostname


def test_programs_that_cannot_be_replaced_are_said_and_those_that_are_there_work(
    sshd: Sshd, client: session.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Porter, content: bytes, path: str, mode: int) -> None:
        raise NodeRefused(node="private", reason="No space left on device")

    replace_program(sshd, b"older", agent_package.VMWATCH_PATH)
    monkeypatch.setattr(Porter, "put", refuse)
    with pytest.raises(CommandFailed, match="No space left"):
        client.update_programs()
    assert client.call(machine.NodeFacts()).hostname


def test_an_agent_that_works_is_not_disturbed_by_a_newer_file(sshd: Sshd, client: session.Session) -> None:
    link = client.link()
    replace_program(sshd, b"newer")
    assert client.call(host.HostsRead()).hosts is not None
    assert client.call(machine.LibvirtEnsure()).libvirt_version
    assert client.link() is link


class ssh_only:
    """A second connection for what the test does behind the session's back."""

    def __init__(self, sshd: Sshd) -> None:
        self._connection = ssh.open_connection(sshd.address())

    def __enter__(self) -> ssh.Connection:
        return self._connection

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


def test_a_program_that_was_ended_before_it_could_answer_has_said_nothing(porter: Porter) -> None:
    killed = "import os, signal\nCOMMANDS = {'look': lambda _request: os.kill(os.getpid(), signal.SIGKILL)}\n"
    with pytest.raises(NodeUnreachable, match="was ended there before it could answer"):
        porter.run(killed, "look", {}, 10)


def test_a_fault_of_a_program_of_ours_is_told_and_the_porter_goes_on(porter: Porter) -> None:
    with pytest.raises(NodeRefused, match="the panel's own program met a fault"):
        porter.run("COMMANDS = {'look': lambda request: request['nothing']}", "look", {}, 10)
    assert porter.look()["user"] == 0
