"""What libvirt's, vmwatch's and our own words for a change of a VM's status mean, as a sentence for people.

The words are stored (StatusChange.detail) and stay: programs go by them. One that is not here is shown as it is.
"""

from __future__ import annotations

from panel.core.wording import Text

SENTENCES = {
    "defined:added": Text("its domain was defined"),
    "defined:updated": Text("its domain was changed"),
    "defined:renamed": Text("its domain was renamed"),
    "defined:from-snapshot": Text("it went back to a snapshot"),
    "undefined:removed": Text("its domain was removed"),
    "undefined:renamed": Text("its domain was renamed"),
    "started:booted": Text("it was started"),
    "started:migrated": Text("it was moved here"),
    "started:restored": Text("it was started from its saved memory"),
    "started:from-snapshot": Text("it went back to a snapshot"),
    "started:wakeup": Text("it was woken"),
    "started:recovered": Text("it was recovered"),
    "suspended:paused": Text("its CPUs were halted"),
    "suspended:migrated": Text("it was moved away"),
    "suspended:io-error": Text("a disk failed"),
    "suspended:watchdog": Text("its watchdog halted it"),
    "suspended:restored": Text("it was restored from its saved memory, halted"),
    "suspended:from-snapshot": Text("it went back to a snapshot, halted"),
    "suspended:api-error": Text("libvirt met an error"),
    "resumed:unpaused": Text("its CPUs go on"),
    "resumed:migrated": Text("it was moved here"),
    "resumed:from-snapshot": Text("it went back to a snapshot"),
    "stopped:shutdown": Text("its guest shut down"),
    "stopped:destroyed": Text("it was forced off"),
    "stopped:crashed": Text("it crashed"),
    "stopped:migrated": Text("it was moved away"),
    "stopped:saved": Text("its memory was saved"),
    "stopped:failed": Text("QEMU failed"),
    "stopped:from-snapshot": Text("it went back to a snapshot"),
    "shutdown:finished": Text("its guest shut down"),
    "shutdown:guest": Text("its guest shut down"),
    "shutdown:host": Text("it was shut down from outside"),
    "pmsuspended:memory": Text("its guest sleeps"),
    "pmsuspended:disk": Text("its guest hibernates"),
    "crashed:panicked": Text("its guest's kernel panicked"),
    "crashed:crashloaded": Text("its guest's kernel panicked"),
    "rebooted": Text("its guest rebooted"),
    "migrated": Text("it was moved"),
    "seen": Text("it was found so"),
    "vmwatch-master is silent": Text("vmwatch-master is silent"),
    "its node is silent": Text("its node is silent"),
}


def worded(cause: str, detail: str) -> Text:
    """The sentence of a change of status: who brought it about, as people say it, and what happened."""
    if not detail:
        return Text(cause)
    return Text("{cause}: {what}", {"cause": Text(cause), "what": SENTENCES.get(detail, Text(detail))})
