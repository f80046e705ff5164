"""Who gets the summary by email."""

from enum import StrEnum

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.models.configuration import OnPrimary


class SummarySubscription(models.Model):
    """A user who gets the summary, and how often. Without a row, a user gets none."""

    class Frequency(models.TextChoices, StrEnum):  # type: ignore[misc]  # see choices
        WEEKLY = "weekly", _("Weekly")
        DAILY = "daily", _("Daily")

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", editable=False
    )
    frequency = models.CharField(max_length=10, choices=Frequency.choices)
    #: The last day that a summary was sent for, or that was over when the user chose the frequency.
    sent_until = models.DateField(editable=False)
    #: Where the user chose it; empty if the environment had no name. Only that one sends it.
    environment = models.CharField(max_length=50, blank=True, default="", editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id}: {self.frequency}"
