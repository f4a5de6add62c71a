"""What the REST API itself remembers: answers given to idempotency keys, and batches."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class KeptAnswer(models.Model):
    """The answer that a call with an idempotency key was given; the same call is given it again.

    `sealed` is encrypted (core/secretbox.py), since an answer may hold a token; null while the call is carried out.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=128)
    digest = models.CharField(max_length=64)
    sealed = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_answer_a_key")]

    def __str__(self) -> str:
        return f"{self.user_id}/{self.key}"


class BatchState(models.TextChoices):
    """Where a batch is."""

    OPEN = "open", "Open"
    UNDOING = "undoing", "Undoing"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class Batch(models.Model):
    """Calls that were accepted together, and are undone together where one of their tasks fails."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=16, choices=BatchState.choices, default=BatchState.OPEN, db_index=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"batch {self.pk}"


class Undo(models.TextChoices):
    """What became of a call's effect after another call of its batch had failed."""

    NONE = "", "Nothing to undo"
    CANCELLED = "cancelled", "Its task was cancelled and undid itself"
    REMOVED = "removed", "What it had made was removed by another task"
    STAYS = "stays", "It stays: nothing undoes it by itself"


class BatchCall(models.Model):
    """One call of a batch; the ids are of tasks, not keys, since tasks are deleted after a while."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="calls")
    position = models.PositiveSmallIntegerField()
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=512)
    status = models.PositiveSmallIntegerField()
    task_id = models.BigIntegerField(null=True)
    undo = models.CharField(max_length=16, choices=Undo.choices, default=Undo.NONE, blank=True)
    undo_task_id = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["batch", "position"], name="one_call_a_position")]

    def __str__(self) -> str:
        return f"{self.batch_id}.{self.position}"
