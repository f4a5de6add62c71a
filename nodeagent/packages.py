"""The distribution packages that a node needs, installed beside what the administrator has: nothing of his goes.

A package manager that has begun to unpack and configure is never ended: what was left half done would be his to mend.
"""

from __future__ import annotations

import re
import shutil
from typing import Dict, Iterator, List, Sequence, Set, Tuple

from nodeagent.errors import CommandFailed, Exists
from nodeagent.job import Job
from nodeagent.run import Finished, failed, run, run_detached

DEBIAN_PACKAGES = (
    "libvirt-daemon-system",
    "libvirt-clients",
    "qemu-system-x86",
    "ovmf",
    "qemu-utils",
    "python3-libvirt",
    "python3-zmq",
    "genisoimage",
    "nftables",
    "iproute2",
)
REDHAT_PACKAGES = (
    "libvirt-daemon-kvm",
    "libvirt-client",
    "qemu-kvm",
    "edk2-ovmf",
    "qemu-img",
    "python3-libvirt",
    "python3-zmq",
    "xorriso",
    "nftables",
    "iproute",
)
LOCK_SECONDS = 120.0
"""How long another package manager at work is waited for."""
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
_APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=60")
_REMOVED = re.compile(r"^Remv (\S+)", re.MULTILINE)
_CHANGED = re.compile(r"^Inst (\S+)(?: \[(\S+)\])? \((\S+)", re.MULTILINE)
_DNF_SECTION = re.compile(r"^(Removing|Downgrading|Removing dependent packages):\n((?: .*\n?)+)", re.MULTILINE)
_DNF_REPLACING = re.compile(r"^ +replacing +(\S+)", re.MULTILINE)


def install(job: Job) -> List[str]:
    """Have every package that a node needs; answers those that were missing.

    Raises Exists, nothing being changed, where that would remove or downgrade a package or change one on hold.
    """
    if shutil.which("apt-get"):
        return _install_debs(job)
    if shutil.which("dnf"):
        return _install_rpms(job)
    raise CommandFailed("The node has neither apt-get nor dnf.", argv0="apt-get", exit_code=127)


def _install_debs(job: Job) -> List[str]:
    missing = missing_debs(job)
    if missing:
        job.progress(0, 3, "reading the package lists")
        run([*_APT, "update"], job, env=_QUIET)
        refuse_losses(missing, job)
        wanted = ["-y", "--no-remove", "--no-install-recommends", "install", "--", *missing]
        job.progress(1, 3, f"fetching {len(missing)} packages and what they need")
        run([*_APT, "--download-only", *wanted], job, env=_QUIET)
        job.progress(2, 3, f"installing {len(missing)} packages")
        # One that was interrupted half-way is finished first, or apt-get refuses.
        _when_unlocked(["dpkg", "--configure", "-a", "--force-confold"], job)
        _when_unlocked([*_APT, *wanted], job)
    return missing


def missing_debs(job: Job) -> List[str]:
    """The packages that are not there; one on hold is there."""
    # Ends with 1 when it does not know one of them, and tells of the others.
    shown = run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${Package}\n", *DEBIAN_PACKAGES], job, check=False)
    states = [line.partition("|") for line in shown.stdout.splitlines()]
    # The second letter is what it is, the first what it shall be.
    there = {name for state, _, name in states if state[1:2] == "i"}
    return [name for name in DEBIAN_PACKAGES if name not in there]


def refuse_losses(missing: Sequence[str], job: Job) -> None:
    """Raise Exists where apt-get would take something away to install these packages, or cannot have them beside it."""
    shown = run([*_APT, "-s", "--no-install-recommends", "install", "--", *missing], job, check=False, env=_QUIET)
    if shown.exit_code:
        if unmet := _unmet(shown.stdout):
            raise Exists(f"What a node needs cannot be installed beside what the host has: {unmet}.")
        raise failed("apt-get", shown)
    changed = {name: (old, new) for name, old, new in _CHANGED.findall(shown.stdout)}
    losses = [*_removals(_REMOVED.findall(shown.stdout), list(changed), job), *_changes(changed, job)]
    if losses:
        raise Exists(
            f"Installing what a node needs ({', '.join(missing)}) would {'; it would '.join(losses)}. "
            "Nothing was installed: see to that package, then try again."
        )


def _unmet(text: str) -> str:
    """What apt-get says of dependencies that cannot be met, on one line."""
    told = text.partition("unmet dependencies:\n")[2].splitlines()
    lines = [" ".join(line.split()) for line in told if line.startswith(" ")]
    return "; ".join(lines)


def _removals(removed: Sequence[str], installed: Sequence[str], job: Job) -> Iterator[str]:
    if not removed:
        return
    against = _conflicts(
        ["dpkg-query", "-W", "-f", "Package: ${Package}\nConflicts: ${Conflicts}, ${Breaks}\n"], job, removed
    )
    theirs = _conflicts(["apt-cache", "show", "--no-all-versions"], job, installed)
    for name in removed:
        others = sorted(
            against.get(name, set()) & set(installed) | {each for each in installed if name in theirs.get(each, set())}
        )
        why = f", which conflicts with {' and '.join(f'“{each}”' for each in others)}" if others else ""
        yield f"remove the package “{name}”{why}"


def _conflicts(argv: Sequence[str], job: Job, names: Sequence[str]) -> Dict[str, Set[str]]:
    """The names that each package says it cannot be beside, as these control fields tell."""
    found: Dict[str, Set[str]] = {}
    package = ""
    for line in run([*argv, *names], job, check=False).stdout.splitlines():
        field, _, value = line.partition(": ")
        if field == "Package":
            package = value.strip()
        elif field in ("Conflicts", "Breaks"):
            found.setdefault(package, set()).update(each.split("(")[0].strip() for each in value.split(","))
    return found


def _changes(changed: Dict[str, Tuple[str, str]], job: Job) -> Iterator[str]:
    """The downgrades, and the changes of packages on hold."""
    replaced = {name: versions for name, versions in changed.items() if versions[0]}
    if not replaced:
        return
    shown = run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${Package}\n", *replaced], job, check=False)
    held = {line.partition("|")[2] for line in shown.stdout.splitlines() if line.startswith("h")}
    for name, (old, new) in sorted(replaced.items()):
        if name in held:
            yield f"change the package “{name}” ({old}), which is on hold"
        elif not run(["dpkg", "--compare-versions", new, "lt", old], job, check=False).exit_code:
            yield f"downgrade the package “{name}” from {old} to {new}"


def _when_unlocked(argv: Sequence[str], job: Job) -> None:
    """Run it to its end as soon as no other package manager is at work; raises CommandFailed."""
    waited = 0.0
    while True:
        finished = run_detached(argv, job, env=_QUIET)
        if not finished.exit_code:
            return
        if "lock" not in finished.stderr or waited >= LOCK_SECONDS:
            raise failed(argv[0], finished)
        job.progress(2, 3, "waiting for another package manager")
        job.wait(1.0)
        waited += 1.0


def _install_rpms(job: Job) -> List[str]:
    missing = [name for name in REDHAT_PACKAGES if run(["rpm", "-q", name], job, check=False).exit_code]
    if missing:
        job.progress(0, 2, f"fetching {len(missing)} packages")
        _refuse_rpm_losses(missing, run(["dnf", "--assumeno", "install", *missing], job, check=False))
        run(["dnf", "-q", "-y", "--downloadonly", "install", *missing], job)
        job.progress(1, 2, f"installing {len(missing)} packages")
        finished = run_detached(["dnf", "-q", "-y", "install", *missing], job)
        if finished.exit_code:
            raise failed("dnf", finished)
    return missing


def _refuse_rpm_losses(missing: Sequence[str], shown: Finished) -> None:
    """Raise Exists where dnf would remove, replace or downgrade a package. By itself it erases none that conflicts."""
    lines = [line for _, section in _DNF_SECTION.findall(shown.stdout) for line in section.splitlines()]
    losses = [line.split()[0] for line in lines if line.strip()] + _DNF_REPLACING.findall(shown.stdout)
    if losses:
        raise Exists(
            f"Installing what a node needs ({', '.join(missing)}) would remove, replace or downgrade: "
            f"{', '.join(sorted(set(losses)))}. Nothing was installed: see to them, then try again."
        )
