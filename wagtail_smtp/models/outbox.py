"""The outbox: messages that wait to be sent."""

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.models.log import LogEntry


class OutboxMessage(models.Model):
    """A message in the outbox; the row is deleted when its entry reaches a final state.

    A worker claims waiting rows until ``lease_until``, and writes its ``token`` into them. If the
    token has changed, the worker has lost the row and must not change it. A row in state *sending*
    is never claimed again, because the message may have been sent. A *held* row came with a
    database that was copied from another environment; it waits for a person's decision.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENDING = "sending", _("Sending")
        HELD = "held", _("Held")

    entry = models.OneToOneField(LogEntry, on_delete=models.CASCADE, related_name="outbox")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    #: 0 is sent first: security email.
    priority = models.PositiveSmallIntegerField(default=1)
    #: The category set on the message; empty: none.
    category = models.CharField(max_length=50)
    category_source = models.CharField(max_length=20)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    token = models.UUIDField(default=uuid.uuid4)
    #: Where it was queued; empty if the environment had no name.
    environment = models.CharField(max_length=50, blank=True, default="")

    #: Only on rows that a worker has claimed: the stored message, None if it is missing.
    content: bytes | memoryview | None

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox")
        default_permissions = ()
        ordering = ["priority", "due_at", "id"]
        indexes = [
            models.Index(
                fields=["state", "priority", "due_at", "id"], name="wagtail_smtp_outbox_due"
            ),
            models.Index(fields=["state", "lease_until"], name="wagtail_smtp_outbox_lease"),
        ]

    def __str__(self) -> str:
        return f"{self.entry}: {self.get_state_display()}"
