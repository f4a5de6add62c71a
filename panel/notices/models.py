"""Problems: what is wrong now and needs a person, each open at most once; what was wrong stays for a while."""

from __future__ import annotations

from django.db import models

from panel.core.wording import Text, of_row


class Severity(models.TextChoices):
    """How bad a problem is."""

    INFO = "info", "Notice"
    WARNING = "warning", "Warning"
    ERROR = "error", "Error"
    ALARM = "alarm", "Alarm"


LONGEST_NOTE = 500


class Problem(models.Model):
    """One thing that is wrong. `key` names the thing ("node:3:unreachable"); an open key is unique.

    Who acknowledges it knows of it: it is shown as before, and counts no more. What returns is another row.
    """

    key = models.CharField(max_length=190, db_index=True)
    open_key = models.CharField(max_length=190, unique=True, null=True, help_text="The key while open, else NULL.")
    severity = models.CharField(max_length=16, choices=Severity.choices)
    text = models.TextField(help_text="The sentence in English, as earlier releases stored it alone.")
    said = models.JSONField(null=True, help_text="What shown() makes the sentence of: a Text's template and data.")
    object_type = models.CharField(max_length=32, blank=True)
    object_id = models.BigIntegerField(null=True)
    opened_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(auto_now=True)
    closed_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, help_text="A user's name.")
    note = models.CharField(max_length=LONGEST_NOTE, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["closed_at"], name="problem_closed")]

    def __str__(self) -> str:
        return self.text

    @property
    def is_open(self) -> bool:
        """Whether it is wrong still."""
        return self.open_key is not None

    @property
    def worded(self) -> Text:
        """The sentence, to be shown to a reader."""
        return of_row(self.text, self.said)
