"""Tasks, their steps, locks, secrets and log: everything that a run of an operation is.

Celery knows only a task's id. Who may change which field: engine.py alone, and submission.py.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from panel.core.rows import QuickModel
from panel.core.wording import Text, of_row


class Status(models.TextChoices):
    """Where a task is. The last five are ends; `stuck` is the one that keeps its locks."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    RETRYING = "retrying", "Waiting to try again"
    UNDOING = "undoing", "Undoing"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    STUCK = "stuck", "Stuck"


OPEN = (Status.QUEUED, Status.RUNNING, Status.RETRYING, Status.UNDOING)
ENDED = (Status.DONE, Status.FAILED, Status.CANCELLED, Status.STUCK)


class Task(QuickModel):
    """One run of an operation. `owner` owns the object (and may see the task), `created_by` asked for it.

    `fence` grows with each worker that takes the task; `lease_until` is the database's time up to
    which the present one may be believed alive. `undoing` tells the direction independently of
    `status`, so that a task that waits to retry an undo is known as such.
    """

    operation = models.CharField(max_length=64)
    title = models.CharField(max_length=200, help_text="In English, as earlier releases stored it alone.")
    title_said = models.JSONField(null=True, help_text="The Text that the title is made of when it is shown.")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    params = models.JSONField(default=dict)
    params_version = models.PositiveSmallIntegerField(
        default=1, help_text="Of its operation's parameters, when it was asked for."
    )
    release = models.CharField(max_length=32, blank=True, help_text="Which made it; empty: one before 0.2.")
    result = models.JSONField(default=dict)
    error = models.JSONField(null=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    request_id = models.CharField(max_length=64, blank=True)

    object_type = models.CharField(max_length=32, blank=True)
    object_id = models.BigIntegerField(null=True)
    object_name = models.CharField(max_length=128, blank=True)
    node_id = models.BigIntegerField(null=True)

    undoing = models.BooleanField(default=False)
    cancel_requested_by = models.CharField(max_length=64, blank=True)
    fence = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=128, blank=True)
    lease_until = models.DateTimeField(null=True)
    next_run_at = models.DateTimeField(null=True)
    progress = models.FloatField(default=0.0, help_text="0 to 1 over all steps by their weight.")

    idempotency_key = models.CharField(max_length=128, null=True)
    idempotency_digest = models.CharField(max_length=64, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    replayed = False
    """Whether it was there already when it was asked for again, with its idempotency key."""

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["status", "next_run_at"], name="task_ready"),
            models.Index(fields=["object_type", "object_id"], name="task_object"),
            models.Index(fields=["owner", "-id"], name="task_owner"),
            models.Index(fields=["operation", "status", "-id"], name="task_operation"),
            models.Index(fields=["request_id"], name="task_request"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["created_by", "idempotency_key"], name="one_task_an_idempotency_key"),
        ]

    def __str__(self) -> str:
        return f"task {self.pk} ({self.operation})"

    @property
    def worded_title(self) -> Text:
        """The title, to be shown to a reader."""
        return of_row(self.title, self.title_said)

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done for it."""
        return self.status in OPEN


class StepStatus(models.TextChoices):
    """Where a step is."""

    PENDING = "pending", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    UNDOING = "undoing", "Undoing"
    UNDONE = "undone", "Undone"


class TaskStep(models.Model):
    """One step of a task by the id that its operation knows it by (`name`); `output` is what later steps may read."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=64)
    title = models.CharField(max_length=128, help_text="In English, the catalogues' key.")
    weight = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=16, choices=StepStatus.choices, default=StepStatus.PENDING)
    output = models.JSONField(default=dict)
    attempts = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, help_text="First of the failures now being retried.")
    progress = models.FloatField(default=0.0)
    progress_text = models.CharField(max_length=200, blank=True)
    progress_said = models.JSONField(null=True, help_text="The Text that the note is made of when it is shown.")
    commands = models.JSONField(null=True, help_text="What it had nodes do: see commands.py.")
    error = models.JSONField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["task", "position"], name="one_step_a_position")]

    def __str__(self) -> str:
        return f"{self.task_id}.{self.position} {self.name}"

    @property
    def worded_title(self) -> Text:
        """The title, to be shown to a reader."""
        return Text(self.title)

    @property
    def worded_progress(self) -> Text:
        """What it is at, to be shown to a reader."""
        return of_row(self.progress_text, self.progress_said)


class LockAnchor(models.Model):
    """A row to take FOR UPDATE while the locks of one object are read and changed."""

    kind = models.CharField(max_length=16)
    object_id = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "object_id"], name="one_anchor_an_object")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.object_id}"


class TaskLock(models.Model):
    """A lock that a task holds or waits for: it holds it when no conflicting lock has a smaller task id."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="locks")
    kind = models.CharField(max_length=16)
    object_id = models.BigIntegerField()
    exclusive = models.BooleanField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "kind", "object_id"], name="one_lock_a_task_and_object")]
        indexes = [models.Index(fields=["kind", "object_id"], name="lock_object")]

    def __str__(self) -> str:
        return f"{'exclusive' if self.exclusive else 'shared'} {self.kind}:{self.object_id}"


class Reservation(models.Model):
    """How large a task may bring an object to be, by the name of a resource with its unit; see reservations.py."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="reservations")
    kind = models.CharField(max_length=16)
    object_id = models.BigIntegerField()
    resource = models.CharField(max_length=16)
    amount = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["task", "kind", "object_id", "resource"], name="one_reservation_a_task_and_resource"
            )
        ]
        indexes = [models.Index(fields=["kind", "resource", "object_id"], name="reservation_object")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.object_id} {self.resource} {self.amount}"


class TaskSecret(models.Model):
    """What a task needs and nobody may read: encrypted (core/secretbox.py), deleted when the task ends."""

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="secret")
    sealed = models.BinaryField()

    def __str__(self) -> str:
        return f"secret of task {self.task_id}"


class TaskLog(models.Model):
    """One line of a task's log."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField(auto_now_add=True)
    step = models.CharField(max_length=64, blank=True)
    level = models.CharField(max_length=8, default="info")
    text = models.TextField(help_text="The sentence in English, as earlier releases stored it alone.")
    said = models.JSONField(null=True, help_text="The Text that the sentence is made of when it is shown.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text

    @property
    def worded(self) -> Text:
        """The line, to be shown to a reader."""
        return of_row(self.text, self.said)
