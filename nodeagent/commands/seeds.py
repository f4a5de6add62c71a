"""NoCloud seeds (https://cloudinit.readthedocs.io, "NoCloud"): who a guest is, on a small ISO.

JSON is valid YAML, so what cloud-init reads is written by the json module and nothing is quoted by
hand. Our own tiny image has no YAML reader: for it the same facts stand in vmpanel.env.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

from nodeagent import guest_network, holders, iso, paths
from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.commands.guests import check as check_change
from nodeagent.errors import CommandFailed, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import BadMessage, Nothing, from_dict, guest, identity, storage, to_dict
from nodeagent.run import run
from nodeagent.storage.files import SEEDS

USER_DATA = "#cloud-config\n"
INTERFACES = "interfaces.json"
"""The file with what the guest is told of its further interfaces, for whoever reads the seed again."""


@handles(identity.SeedCreate)
def seed_create(request: identity.SeedCreate, job: Job) -> storage.VolumeState:
    """Make the seed anew."""
    path = _file(request.seed)
    check_guest(request.guest)
    guest = _with_kept(request, request.keep_from) if request.keep_from else request.guest
    return _make(path, seed_files(request.instance_id, guest), job)


def _with_kept(request: identity.SeedCreate, seed: storage.VolumeRef) -> identity.GuestIdentity:
    """The identity with the password and keys of the seed that it keeps them from; raises InvalidParams for neither."""
    try:
        _, old = read_seed(iso.read_texts(_file(seed)))
    except (FileNotFoundError, KeyError, ValueError):
        kept = request.guest
    else:
        kept = identity.keeping(request.guest, old, keys=request.keep_keys)
    check_guest(kept)
    if not kept.password_hash and not kept.ssh_keys:
        raise InvalidParams(identity.NOBODY_ENTERS, field="guest")
    return kept


@handles(guest.SeedChange)
def seed_change(request: guest.SeedChange, job: Job) -> storage.VolumeState:
    """Read the seed and make it anew with the change."""
    path = _file(request.seed)
    check_change(request.change, "root")
    try:
        files = iso.read_texts(path)
        instance_id, told = read_seed(files)
    except FileNotFoundError as error:
        raise InvalidParams("There is no such seed.", field="seed") from error
    except (iso.NotAnIso, KeyError, ValueError) as error:
        raise InvalidParams("This is not a seed of ours.", field="seed") from error
    changed = request.change.of(told)
    check_guest(changed)
    # A guest that has not been started since must still hear that other keys go.
    replaced = request.change.ssh_keys is not None or replaces_keys(files)
    return _make(path, seed_files(request.instance_id or instance_id, changed, again=True, replace=replaced), job)


@handles(guest.SeedRestore)
def seed_restore(request: guest.SeedRestore, job: Job) -> storage.VolumeState:
    """Make the seed if there is none."""
    path = _file(request.seed)
    check_guest(request.guest)
    if path.exists():
        return _state(path)
    return _make(path, seed_files(request.instance_id, request.guest, again=True), job)


def _file(seed: storage.VolumeRef) -> Path:
    """Where the seed is; raises InvalidParams for what is none."""
    pool, name = storages.volume(seed)
    file = pool.file_of(name)
    if file is None or file.parent.name != SEEDS:
        raise InvalidParams("This is not a seed.", field="seed")
    return file


def _make(path: Path, files: Dict[str, str], job: Job) -> storage.VolumeState:
    partial = Path(f"{path}.part")
    with tempfile.TemporaryDirectory(prefix="vmpanel-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        try:
            run([*_mkisofs(), "-quiet", "-o", str(partial), "-V", "cidata", "-J", "-r", folder], job)
            partial.chmod(0o600)
            partial.rename(path)
        finally:
            paths.remove_file(partial)
    return _state(path)


def _state(path: Path) -> storage.VolumeState:
    return storage.VolumeState(
        exists=True,
        format="raw",
        virtual_bytes=path.stat().st_size,
        allocated_bytes=path.stat().st_size,
    )


@handles(identity.SeedDelete)
def seed_delete(request: identity.SeedDelete, job: Job) -> Nothing:
    """Remove the seed."""
    path = _file(request.seed)
    holders.refuse_used(path, job)
    for file in (path, Path(f"{path}.part")):
        paths.remove_file(file)
    return Nothing()


def check_guest(guest: identity.GuestIdentity) -> None:
    """Refuse an identity that could mean something else where it is written; raises InvalidParams."""
    try:
        identity.check_identity(guest)
    except BadMessage as error:
        raise InvalidParams(str(error), field=error.field) from error


def seed_files(
    instance_id: str, guest: identity.GuestIdentity, *, again: bool = False, replace: bool = False
) -> Dict[str, str]:
    """The seed's files by name.

    `again`: the guest was told before and stays who it is, with its host keys; `replace`: keys that it has
    and are not named go.
    """
    user_data = _user_data(guest)
    if again:
        user_data["ssh_deletekeys"] = False
    if replace:
        user_data.setdefault("write_files", []).append(_all_keys(guest))
    return {
        "meta-data": json.dumps({"instance-id": instance_id, "local-hostname": guest.hostname}, indent=1) + "\n",
        "user-data": USER_DATA + json.dumps(user_data, indent=1) + "\n",
        "network-config": json.dumps(guest_network.netplan(guest.every_interface()), indent=1) + "\n",
        "vmpanel.env": _env(guest),
        "authorized_keys": "".join(f"{key}\n" for key in guest.ssh_keys),
        **({INTERFACES: json.dumps(to_dict(guest)["interfaces"]) + "\n"} if guest.interfaces else {}),
    }


def read_seed(files: Dict[str, str]) -> Tuple[str, identity.GuestIdentity]:
    """The instance's id and identity of a seed's files, as seed_files() wrote them; raises KeyError, ValueError."""
    told = dict(line.split("=", 1) for line in files["vmpanel.env"].splitlines())
    user_data = json.loads(files["user-data"][len(USER_DATA) :])
    guest = identity.GuestIdentity(
        hostname=told["HOSTNAME"],
        login=told["LOGIN"],
        address=told["ADDRESS"],
        prefix=int(told["PREFIX"]),
        gateway=told["GATEWAY"],
        mac=told["MAC"],
        nameservers=told["NAMESERVERS"].split(),
        ssh_keys=files["authorized_keys"].splitlines(),
        password_hash=told["PASSWORD_HASH"],
        timezone=user_data["timezone"],
        keeps_password=user_data["ssh_pwauth"] is None,
        further=[_address(each) for each in told.get("FURTHER", "").split()],
        mtu=int(told.get("MTU", "0")),
        interfaces=[from_dict(identity.GuestInterface, each) for each in json.loads(files.get(INTERFACES, "[]"))],
    )
    return json.loads(files["meta-data"])["instance-id"], guest


def replaces_keys(files: Dict[str, str]) -> bool:
    """Whether a seed's files say that keys which they do not name go."""
    written = json.loads(files["user-data"][len(USER_DATA) :]).get("write_files", [])
    return any(file["path"].endswith("/.ssh/authorized_keys") for file in written)


def _all_keys(guest: identity.GuestIdentity) -> Dict[str, str]:
    home = "/root" if guest.login == "root" else f"/home/{guest.login}"
    return {
        "path": f"{home}/.ssh/authorized_keys",
        "content": "".join(f"{key}\n" for key in guest.ssh_keys),
        "owner": f"{guest.login}:{guest.login}",
        "permissions": "0600",
    }


def _user_data(guest: identity.GuestIdentity) -> Dict[str, Any]:
    user: Dict[str, Any] = {"name": guest.login, "ssh_authorized_keys": list(guest.ssh_keys)}
    if guest.login != "root":
        user.update(sudo="ALL=(ALL) NOPASSWD:ALL", shell="/bin/bash")
    if guest.password_hash:
        # hashed_passwd applies to users that exist already, passwd only to new ones.
        user.update(hashed_passwd=guest.password_hash, lock_passwd=False)
    keeps_password = guest.keeps_password and not guest.password_hash
    if keeps_password:
        user.update(lock_passwd=False)
    data = {
        "hostname": guest.hostname,
        "manage_etc_hosts": True,
        # Another MAC or address is written here, and must be heard by an instance that is not new.
        "updates": {"network": {"when": ["boot-new-instance", "boot"]}},
        "timezone": guest.timezone,
        "disable_root": guest.login != "root",
        # None leaves sshd's configuration as it is (cloud-init's cc_set_passwords).
        "ssh_pwauth": None if keeps_password else bool(guest.password_hash),
        "users": [user],
    }
    if guest.login == "root" and guest.password_hash:
        # Distributions let root in by key only; written before cloud-init lets sshd start.
        data["write_files"] = [{"path": "/etc/ssh/sshd_config.d/10-vmpanel.conf", "content": "PermitRootLogin yes\n"}]
    return data


def _address(text: str) -> identity.GuestAddress:
    """What _env() wrote of a further address; raises ValueError."""
    address, prefix, gateway = text.split("/")
    return identity.GuestAddress(address, int(prefix), gateway)


def _env(guest: identity.GuestIdentity) -> str:
    further = " ".join(f"{each.address}/{each.prefix}/{each.gateway}" for each in guest.further)
    values = {
        "HOSTNAME": guest.hostname,
        "ADDRESS": guest.address,
        "PREFIX": str(guest.prefix),
        "GATEWAY": guest.gateway,
        "MAC": guest.mac,
        "NAMESERVERS": " ".join(guest.nameservers),
        "LOGIN": guest.login,
        "PASSWORD_HASH": guest.password_hash,
        **({"FURTHER": further} if further else {}),
        **({"MTU": str(guest.mtu)} if guest.mtu else {}),
    }
    lines = [f"{name}={value}\n" for name, value in values.items()]
    return "".join(lines + [f"INTERFACE={_line(each)}\n" for each in guest.interfaces])


def _line(told: identity.GuestInterface) -> str:
    return " ".join([told.mac, *(f"{each.address}/{each.prefix}" for each in told.addresses)])


def _mkisofs() -> List[str]:
    for program in ("genisoimage", "mkisofs"):
        if shutil.which(program):
            return [program]
    if shutil.which("xorriso"):
        return ["xorriso", "-as", "mkisofs"]
    raise CommandFailed("The node has neither genisoimage nor xorriso.", argv0="genisoimage", exit_code=127)
