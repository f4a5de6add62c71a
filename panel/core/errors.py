"""The panel's errors: one small hierarchy that every door (REST, classic API, pages, command line) words alike.

An error has a stable `code`, data fields, an HTTP status and a sentence that a person can act on.
A new class is made only where a caller would act differently on it. Translation from libraries'
errors is elsewhere: paramiko's and the agent's in cluster/session.py, the database's in tasks/engine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

from panel.core.wording import Text

OWN_TEXT = "text_of_message"
"""Where a stored error has a text that is not its class's sentence."""


class PanelError(Exception):
    """Base of all. Keyword arguments are the error's data; they fill `sentence` and go to the caller as they are.

    What says more than `sentence` is a Text with fields of its own, or a sentence without any.
    Never put a secret in the data: it is logged, stored with the task and shown.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "Something went wrong."
    retriable: ClassVar[bool] = False
    """Whether doing the same again later may help with nothing else changed."""

    def __init__(self, message: str | Text = "", /, **data: Any) -> None:
        self.data = data
        self.own_text = message if isinstance(message, Text) else None
        self.text = self.own_text or (Text(str(message)) if message else Text(self.sentence, data))
        self.message = self.text.english
        super().__init__(self.message)

    @property
    def field(self) -> str | None:
        """The name of the input that is wrong, when it is an input."""
        return self.data.get("field")

    def as_dict(self) -> dict[str, Any]:
        """The error as sent to callers."""
        return {"code": self.code, "message": self.message, **self.data}

    def stored(self) -> dict[str, Any]:
        """The error as a task's row has it: with the text of its own that shown() makes the message of."""
        own = {OWN_TEXT: self.own_text.as_dict()} if self.own_text is not None else {}
        return {**self.as_dict(), **own}

    def word(self, *, nodes: bool) -> None:
        """Have the message in the reader's language; without the node for who may not know `nodes`."""
        self.message = shown(self.stored(), nodes=nodes)["message"]


class RequestError(PanelError):
    """The caller asked for something that cannot be done as asked; nothing was touched."""

    code = "bad_request"
    status = 400
    sentence = "The request cannot be carried out."


class InvalidValue(RequestError):
    """A value is not acceptable. Data: field, and what helps to correct it."""

    code = "invalid_value"
    sentence = "The value of “{field}” is not acceptable."


class MissingValue(RequestError):
    """A required value is absent. Data: field."""

    code = "missing_value"
    sentence = "“{field}” is required."


class AlreadyExists(RequestError):
    """Another object has this unique value. Data: field, object."""

    code = "already_exists"
    status = 409
    sentence = "Another {object} has this {field} already."


class NotFound(RequestError):
    """No such object, or none that this viewer may see. Data: object, id."""

    code = "not_found"
    status = 404
    sentence = "There is no {object} “{id}”."


class AccessDenied(RequestError):
    """The viewer may not do this. Data: permission."""

    code = "access_denied"
    status = 403
    sentence = "You do not have the right to do this ({permission})."


class BadCredentials(RequestError):
    """Not signed in, or with a wrong name, password or token."""

    code = "bad_credentials"
    status = 401
    sentence = "Sign in with a valid name and password, or a valid token."


class SecondFactorRequired(BadCredentials):
    """The password was right, and the account has a second factor: a code of it is needed too. Data: field."""

    code = "second_factor_required"
    sentence = "This account has a second factor: give one of its codes as “code” too, or use a token."


class WrongState(RequestError):
    """The object is not in a state in which this can be done. Data: object, id, state."""

    code = "wrong_state"
    status = 409
    sentence = "The {object} is {state}; this cannot be done now."


class Suspended(RequestError):
    """The VM is suspended by an administrator: it stays off. Data: object, id, reason."""

    code = "suspended"
    status = 409
    sentence = "The VM is suspended ({reason}). Only an administrator can end that."


class LimitExceeded(RequestError):
    """A limit of the account would be passed. Data: limit, used, allowed."""

    code = "limit_exceeded"
    status = 403
    sentence = "The limit “{limit}” would be exceeded: {used} of {allowed} are in use."


class Throttled(RequestError):
    """The caller made too many calls of late. Data: limit, seconds."""

    code = "throttled"
    status = 429
    sentence = "Too many calls. Come again in {seconds} s."


class IdempotencyMismatch(RequestError):
    """The idempotency key was used with another request. Data: task."""

    code = "idempotency_mismatch"
    status = 409
    sentence = "This idempotency key was used with a different request (task {task})."


class PreconditionFailed(RequestError):
    """The object is not as the caller has read it (If-Match). Data: etag, as it is now."""

    code = "precondition_failed"
    status = 412
    sentence = "This was changed since you read it. Read it again, and decide anew."


class ConfirmationRequired(RequestError):
    """A page asked for what cannot be taken back without asking its user first. Data: question, header."""

    code = "confirmation_required"
    status = 428
    sentence = "{question} Ask again with the header “{header}: yes”."


class CapacityError(PanelError):
    """No candidate can take what was asked for. Data: field, candidates ({name: what it lacks})."""

    code = "no_capacity"
    status = 409
    sentence = "There is no room for this."


class Busy(PanelError):
    """Another task holds the object. Data: task, operation, object, id."""

    code = "busy"
    status = 409
    sentence = "The {object} is held by task {task} ({operation})."


class NodeError(PanelError):
    """Work on a node failed. Data: node."""

    code = "node_error"
    status = 502
    sentence = "The node “{node}” could not do this."


class NodeUnreachable(NodeError):
    """No ssh connection to the node, or it was lost. Data: node, reason."""

    code = "node_unreachable"
    sentence = "The node “{node}” cannot be reached: {reason}."
    retriable = True


class NodeTimeout(NodeError):
    """A command on the node did not end by its deadline. Data: node, command, seconds."""

    code = "node_timeout"
    status = 504
    sentence = "“{command}” on the node “{node}” did not end within {seconds:g} s."
    retriable = True


class NodeRefused(NodeError):
    """The node answers but does not let us in, or shows another host key than the pinned one. Data: node, reason."""

    code = "node_refused"
    sentence = "The node “{node}” refused the connection: {reason}."


class HostUnsuitable(NodeError):
    """A host cannot be a node as it is; nothing was written on it. Data: node, reasons ([{code, text}])."""

    code = "host_unsuitable"
    status = 409
    sentence = "The host of “{node}” cannot be a node as it is."


class LibvirtFailure(NodeError):
    """libvirt refused. Data: node, command, libvirt_code, text. Retriable where libvirtd itself was away."""

    code = "libvirt_failure"
    sentence = "libvirt on the node “{node}” refused “{command}”: {text}"

    def __init__(self, message: str | Text = "", /, **data: Any) -> None:
        super().__init__(message, **data)
        self.retriable = bool(data.get("connection_lost"))  # type: ignore[misc]


class CommandFailed(NodeError):
    """A command on the node failed. Data: node, command, agent_code, text.

    Retriable where bytes arrived damaged, and while an earlier command of the task goes on.
    """

    code = "command_failed"
    sentence = "“{command}” failed on the node “{node}”: {text}"

    def __init__(self, message: str | Text = "", /, **data: Any) -> None:
        super().__init__(message, **data)
        self.retriable = data.get("agent_code") in ("corrupt", "still_working")  # type: ignore[misc]


class Drifted(NodeError):
    """Somebody changed the VM on its node by hand, and this would overwrite it; nothing was touched.

    Data: differences ({field, node, stored}); sentences are made in vms/drift.py.
    """

    code = "drifted"
    status = 409
    sentence = "This was changed on its node by hand, and would be overwritten."


class VersionMismatch(NodeError):
    """Panel and agent speak different protocol versions. Data: node, panel, agent."""

    code = "version_mismatch"
    sentence = "The agent of the node “{node}” speaks protocol {agent}, the panel {panel}: update the node."


class Fenced(NodeError):
    """The node has seen a later holder of this task; this one must stop without touching anything more."""

    code = "fenced"
    sentence = "Another worker took over the task {task}."


class OperationFailed(PanelError):
    """An operation could not reach its end for a reason of its own. Data: step."""

    code = "operation_failed"
    sentence = "The operation failed."


class Reschedule(PanelError):
    """A step waits for something and is to be run again in `seconds`; no failure. `checkpoint` is kept for it.

    For waits that are too long to hold a worker. The step finds what it kept in ctx.checkpoint.
    """

    code = "not_yet"
    sentence = "It is waited for something."

    def __init__(self, seconds: float, checkpoint: dict[str, Any]) -> None:
        super().__init__()
        self.seconds = seconds
        self.checkpoint = checkpoint


class UndoFailed(PanelError):
    """What a task had done could not be undone. Data: task, step, node."""

    code = "undo_failed"
    sentence = "Step “{step}” of task {task} could not be undone."


class NotUnderstood(PanelError):
    """A task was made by another release, in a form that this one cannot carry on with. Data: task, release, reason."""

    code = "task_not_understood"
    sentence = (
        "Task {task} was made by {release} of the panel, and this one cannot carry on with it: {reason} Its locks "
        "are kept. Have it tried again by a release that understands it, or give it up, which leaves all as it is."
    )


class Cancelled(PanelError):
    """The task was cancelled by a person. Data: by."""

    code = "cancelled"
    status = 409
    sentence = "Cancelled by {by}."


class ConfigError(PanelError):
    """The panel's configuration is wrong. Data: option."""

    code = "config_error"
    sentence = "The option “{option}” of the configuration is wrong."


class NotConfigured(ConfigError):
    """What only the panel's machine can configure is not configured yet; it was asked to. Data: what."""

    code = "not_configured"
    status = 409
    sentence = "{what} is not configured yet: a worker on the panel's machine (PanelHere) is asked to do it."
    retriable = True


def shown(stored: Mapping[str, Any], *, nodes: bool, foreign: Callable[[str], str] = str) -> dict[str, Any]:
    """A stored error for its reader: the message in the reader's language (see Text), and nothing of how it was stored.

    The message of earlier releases' rows and what has no template stays, unless a catalogue has just these words.
    """
    return {**public(stored), "message": text_of(stored).shown(nodes=nodes, foreign=foreign)}


def public(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored error as as_dict() has it."""
    return {name: value for name, value in stored.items() if name != OWN_TEXT}


def text_of(stored: Mapping[str, Any]) -> Text:
    """A stored error's sentence, to be shown or to be part of another."""
    message = str(stored.get("message", ""))
    if OWN_TEXT in stored:
        text = Text.from_dict(stored[OWN_TEXT])
    else:
        text = Text(_sentences().get(str(stored.get("code")), ""), stored)
    return text if text.english == message else Text(message)


@cache
def _sentences() -> dict[str, str]:
    """The sentences of all classes by their codes."""
    return {each.code: each.sentence for each in _with_subclasses(PanelError)}


def _with_subclasses(cls: type[PanelError]) -> list[type[PanelError]]:
    return [cls, *(found for each in cls.__subclasses__() for found in _with_subclasses(each))]
