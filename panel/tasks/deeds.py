"""What the journal's actions are, as sentences for people; the actions themselves stay what programs go by.

Of an operation the sentence is made of its label, so a plug-in's has one too.
"""

from __future__ import annotations

from panel.accounts.models import JournalEntry
from panel.core.wording import Text
from panel.tasks import registry

SENTENCES = {
    "user.create": "Create user {name}",
    "user.change": "Change user {name}",
    "user.delete": "Delete user {name}",
    "user.enable": "Let user {name} in again",
    "user.disable": "Disable user {name}",
    "user.open": "Work in the account of {name}",
    "user.key_add": "Add a security key of {name}",
    "user.key_remove": "Remove a security key of {name}",
    "user.totp_on": "Turn the app for codes of {name} on",
    "user.totp_off": "Turn the app for codes of {name} off",
    "user.totp_reset": "Take the second factor of {name} away",
    "user.signin_key": "Make a sign-in link of {name}",
    "user.signin_key_used": "Sign in as {name} by a sign-in link",
    "session.begin": "Sign in as {name}",
    "session.end": "Sign {name} out",
    "session.handed_over": "Hand a session of {name} over",
    "session.locked": "Lock the sign-in of {name} after wrong tries",
    "role.create": "Create role {name}",
    "role.change": "Change role {name}",
    "role.delete": "Delete role {name}",
    "token.create": "Create token {name}",
    "token.revoke": "Revoke token {name}",
    "ssh_key.add": "Add ssh key {name}",
    "ssh_key.remove": "Remove ssh key {name}",
    "iso.create": "Add ISO image {name}",
    "iso.change": "Change ISO image {name}",
    "iso.delete": "Delete ISO image {name}",
    "flavor.create": "Create flavor {name}",
    "flavor.change": "Change flavor {name}",
    "flavor.delete": "Delete flavor {name}",
    "node.change": "Change node “{node}”",
    "problem.acknowledge": "Acknowledge problem {name}",
    "problem.unacknowledge": "Count problem {name} again",
    "image.change": "Change image {name}",
    "webhook.create": "Create webhook {name}",
    "webhook.change": "Change webhook {name}",
    "webhook.delete": "Delete webhook {name}",
}
"""By actions that are no operations; `name` is what the object was called."""


def worded(entry: JournalEntry) -> Text:
    """What an entry of the journal tells, to be shown to a reader."""
    if (sentence := SENTENCES.get(entry.action)) is not None:
        return Text(sentence, {"node" if "{node}" in sentence else "name": entry.object_name})
    operation = registry.find(entry.action)
    action = Text(operation.label if operation is not None else entry.action)
    if entry.object_type == "vm":
        return Text("{action}: VM {vm}", {"action": action, "vm": entry.object_name})
    if entry.object_type == "node":
        return Text("{action}: node “{node}”", {"action": action, "node": entry.object_name})
    return Text("{action}: {name}", {"action": action, "name": entry.object_name})
