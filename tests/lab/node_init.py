"""PID 1 of a lab node: makes the node's mounts and files, starts sshd, reaps children, is ended by SIGKILL.

Run by hosts.py inside fresh mount, PID, UTS and network namespaces with the system's Python, with the
node's description as JSON on stdin. Everything that it mounts goes with its mount namespace, every process
with its PID namespace, so that nothing has to be cleaned up inside.
"""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

# What this machine may have of a node's life already; a lab node begins without it.
EMPTY_FOLDERS = ("/etc/libvirt/qemu", "/var/lib/libvirt/qemu", "/var/log/libvirt", "/var/cache/libvirt")
# What this machine's people made of it, that a fresh host would not have: root's home, programs put there by hand,
# start files of shells.
OTHERS_FOLDERS = ("/root", "/usr/local", "/etc/profile.d")
ROOT_FILES = {".bashrc": "/usr/share/base-files/dot.bashrc", ".profile": "/usr/share/base-files/dot.profile"}
ABSENT = (
    "/etc/bash.bashrc",
    "/etc/environment",
    "/etc/ssh/sshrc",
    "/usr/lib/vmpanel",
    "/etc/vmpanel",
    "/var/lib/vmpanel",
    "/var/log/vmpanel",
    "/etc/systemd/system/vmwatch-node.service",
)
SSHD_CONFIG = """\
Port {port}
ListenAddress 0.0.0.0
HostKey /etc/ssh/lab_host_ed25519
PidFile /run/sshd.pid
PermitRootLogin yes
PasswordAuthentication yes
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
Subsystem sftp /usr/lib/openssh/sftp-server
"""
AS_ROOT = 'user = "root"\ngroup = "root"\n'
QEMU_CONF = 'security_driver = "none"\nnamespaces = []\n'


def call(*argv, stdin=None):
    """Run a program that must succeed."""
    subprocess.run(argv, check=True, input=stdin, text=True, stdout=subprocess.DEVNULL)


def mount(kind, source, target, options=""):
    """Mount, making the target folder."""
    Path(target).mkdir(parents=True, exist_ok=True)
    call("mount", "-t", kind, *(["-o", options] if options else []), source, str(target))


def prepare_upper(upper):
    """Hide from the node what this machine has of the same kind, in overlayfs's own terms."""
    for path in (*EMPTY_FOLDERS, *OTHERS_FOLDERS):
        folder = Path(f"{upper}{path}")
        folder.mkdir(parents=True, exist_ok=True)
        os.setxattr(folder, "trusted.overlay.opaque", b"y")
    make_root_home(Path(f"{upper}/root"))
    for path in ABSENT:
        hidden = Path(f"{upper}{path}")
        if Path(path).exists() and not os.path.lexists(hidden):
            hidden.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))  # a whiteout


def make_root_home(home):
    """Root's home as the distribution makes it: nothing that this machine's root has there starts in a node's shell."""
    home.chmod(0o700)
    (home / ".ssh").mkdir(mode=0o700)
    for name, source in ROOT_FILES.items():
        if Path(source).exists():
            shutil.copy(source, home / name)


def enter_root(base, shared, interpreter, kvm, own_kernel):
    """Make the overlay of this machine's root the root of this mount namespace, with the lab's shared folder in it."""
    call("mount", "--make-rprivate", "/")
    upper, work, root = f"{base}/upper", f"{base}/work", f"{base}/root"
    for folder in (upper, work, root):
        Path(folder).mkdir(parents=True, exist_ok=True)
    if not Path(f"{upper}/.lab").exists():
        prepare_upper(upper)
        Path(f"{upper}/.lab").touch()
    call("mount", "-t", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", "overlay", root)
    mount("proc", "proc", f"{root}/proc")
    mount("sysfs", "sysfs", f"{root}/sys")
    if own_kernel:
        mount("devtmpfs", "dev", f"{root}/dev")
        mount("devpts", "devpts", f"{root}/dev/pts", "gid=5,mode=620,ptmxmode=666")
        mount("tmpfs", "tmpfs", f"{root}/dev/shm", "mode=1777")
    else:
        call("mount", "--rbind", "/dev", f"{root}/dev")
    mount("tmpfs", "tmpfs", f"{root}/dev/shm", "mode=1777")
    mount("tmpfs", "tmpfs", f"{root}/run", "mode=755")
    give_kvm(kvm, root)
    mount("tmpfs", "tmpfs", f"{root}/tmp", "mode=1777")
    show_interpreter(root, interpreter)
    show_project(base, root)
    Path(f"{root}/srv/shared").mkdir(parents=True, exist_ok=True)
    call("mount", "--bind", shared, f"{root}/srv/shared")
    old = Path(f"{root}/run/old")
    old.mkdir()
    os.chdir(root)
    call("pivot_root", ".", "run/old")
    os.chroot(".")
    os.chdir("/")
    call("umount", "-l", "/run/old")
    Path("/run/old").rmdir()


def is_hidden(path):
    """Whether it lies in a folder that every node has for itself."""
    own = ("/tmp", "/run", *OTHERS_FOLDERS)
    return any(Path(folder) == path or Path(folder) in path.parents for folder in own)


def show_interpreter(root, interpreter):
    """Have the Python of the project's environment in the node: a checkout's own environment refers to it."""
    if is_hidden(interpreter):
        Path(f"{root}{interpreter}").mkdir(parents=True, exist_ok=True)
        call("mount", "--bind", "-o", "ro", str(interpreter), f"{root}{interpreter}")


def give_kvm(kvm, root):
    """A /dev/kvm of the node's own: as udev leaves it, as the kernel makes it, or so and not to be changed."""
    if not Path("/dev/kvm").exists():
        return
    device = Path(f"{root}/run/lab-kvm")
    os.mknod(device, 0o600 | stat.S_IFCHR, os.stat("/dev/kvm").st_rdev)
    if kvm == "udev":
        shutil.chown(device, "root", "kvm")
        device.chmod(0o660)
    call("mount", "--bind", str(device), f"{root}/dev/kvm")
    if kvm == "fixed":
        call("mount", "-o", "remount,bind,ro", f"{root}/dev/kvm")


def show_project(base, root):
    """Have the project's tree in the node also where it lies in a folder that every node has for itself."""
    top = Path(__file__).resolve().parents[2]
    if not is_hidden(top):
        return
    upper, work = f"{base}/project-upper", f"{base}/project-work"
    for folder in (upper, work, f"{root}{top}"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    call("mount", "-t", "overlay", "-o", f"lowerdir={top},upperdir={upper},workdir={work}", "overlay", f"{root}{top}")


def write_files(node):
    """Own identity: host name, ssh, libvirt."""
    socket.sethostname(node["name"])
    Path("/etc/hostname").write_text(node["name"] + "\n")
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{node['address']} {node['name']}\n")
    # Keeps Debian's own services of the same name apart; sshd looks for this one folder.
    Path("/run/sshd").mkdir(mode=0o755)
    Path("/run/lock").mkdir(mode=0o1777)
    key = Path("/etc/ssh/lab_host_ed25519")
    if not key.exists():
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node["name"], "-f", str(key))
        call("chpasswd", stdin=f"root:{node['password']}\n")
        call("usermod", "--shell", "/bin/bash", "root")
        ssh = Path("/root/.ssh")
        (ssh / "authorized_keys").write_text(node["public_key"] + "\n")
        (ssh / "authorized_keys").chmod(0o600)
    Path("/etc/ssh/sshd_config").write_text(SSHD_CONFIG.format(port=node["port"]))
    for folder in ("qemu/networks/autostart", "qemu/autostart"):
        Path(f"/etc/libvirt/{folder}").mkdir(parents=True, exist_ok=True)
    Path("/etc/libvirt/qemu.conf").write_text(QEMU_CONF if node["as_debian"] else AS_ROOT + QEMU_CONF)
    Path("/etc/libvirt/libvirtd.conf").write_text(f'host_uuid = "{node["host_uuid"]}"\nauth_unix_rw = "none"\n')


def start_libvirt():
    """virtlogd and libvirtd, answering."""
    call("/usr/sbin/virtlogd", "-d")
    call("/usr/sbin/libvirtd", "-d")
    until = time.monotonic() + 30
    while subprocess.run(["virsh", "-c", "qemu:///system", "version"], capture_output=True).returncode:
        if time.monotonic() > until:
            raise SystemExit("libvirtd does not answer")
        time.sleep(0.1)


def begin_own_kernel(network):
    """What a node with a kernel of its own (uml.py) has: modules, and the network that others are given."""
    version = os.uname().release
    Path("/lib/modules").mkdir(exist_ok=True)
    Path(f"/lib/modules/{version}").symlink_to(f"/usr/lib/uml/modules/{version}")
    call("depmod", version)
    # QEMU opens its device, which udev would have made.
    call("modprobe", "tun")
    call("ip", "address", "add", network["address"], "dev", "eth0")
    call("ip", "link", "set", "eth0", "up")
    call("ip", "route", "add", "default", "via", network["gateway"])


def wait_for_port(port):
    """sshd accepts connections."""
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def start_services(node):
    """sshd, and libvirtd where asked, answer."""
    if node["as_debian"]:
        # What is started over ssh has it: the strictest that an administrator sets.
        os.umask(0o077)
    call(shutil.which("sshd") or "/usr/sbin/sshd", "-f", "/etc/ssh/sshd_config", "-E", "/var/log/lab-sshd.log")
    wait_for_port(node["port"])
    if node["start_libvirt"]:
        start_libvirt()
    print("ready", flush=True)


def main():
    """Become the node: PID 1 only reaps, since libvirtd's probes of QEMU hang where nobody does."""
    node = json.load(sys.stdin)
    os.environ.clear()
    os.environ.update(
        PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C.UTF-8", HOME="/root"
    )
    call("ip", "link", "set", "lo", "up")
    network = node.get("network")
    enter_root(node["folder"], node["shared"], Path(node["interpreter"]), node["kvm"], bool(network))
    write_files(node)
    if network:
        begin_own_kernel(network)
    starter = os.fork()
    if starter == 0:
        start_services(node)
        return
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            time.sleep(1)
            continue
        if pid == starter and status:
            sys.exit("the node's services did not start")


if __name__ == "__main__":
    main()
