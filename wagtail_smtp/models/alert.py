"""Alerts: what was raised, and which channels have it."""

import uuid
from enum import StrEnum

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.alerts.kinds import AlertKind
from wagtail_smtp.models.configuration import OnPrimary


class Told(models.TextChoices, StrEnum):  # type: ignore[misc]
    """Whether a channel has an alert."""

    TRYING = "trying", _("Being sent")
    SENT = "sent", _("Sent")
    FAILED = "failed", _("Failed")
    UNKNOWN = "unknown", _("Unknown")
    HELD = "held", _("Held")


class Alert(models.Model):
    """An alert. While its interval lasts, the unique ``cause`` prevents another one.

    A process claims it until ``lease_until``, and writes its ``token`` into it. If the token has
    changed, the process has lost the alert and must not deliver it.
    """

    class State(models.TextChoices):
        OPEN = "open", _("Being sent")
        DONE = "done", _("Done")
        EXPIRED = "expired", _("Too old, not sent")

    kind = models.CharField(_("kind"), max_length=20, choices=AlertKind.choices)
    #: A hash of the environment and the cause; None once there may be another alert.
    cause = models.CharField(max_length=64, unique=True, null=True)  # noqa: DJ001
    #: When there may be another alert with this cause.
    until = models.DateTimeField(default=timezone.now)
    #: A hash of the condition that it opened; empty: none, or it has ended.
    condition = models.CharField(max_length=64, blank=True, default="", db_index=True)
    subject = models.CharField(_("subject"), max_length=255)
    text = models.TextField(blank=True)
    created_at = models.DateTimeField(_("time"), default=timezone.now)
    #: How often one process has raised it again since the previous alert with this cause.
    repetitions = models.PositiveIntegerField(default=0)
    #: Where it was raised; empty if the environment had no name.
    environment = models.CharField(max_length=50, blank=True, default="")
    #: Keys of settings sets that don't send it.
    not_through = models.JSONField(default=list)
    #: By channel: ``{"slack": {"state": "failed", "detail": "HTTP 404"}}``. It contains no URLs.
    outcomes = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    token = models.UUIDField(default=uuid.uuid4)
    lease_until = models.DateTimeField(null=True)

    objects = OnPrimary()

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        default_permissions = ()
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["state", "lease_until"], name="wagtail_smtp_alert_state"),
            models.Index(fields=["created_at"], name="wagtail_smtp_alert_created"),
        ]

    def __str__(self) -> str:
        return self.subject
