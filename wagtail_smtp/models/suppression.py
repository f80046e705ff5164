"""The suppression list: addresses that aren't emailed again."""

from enum import StrEnum

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.models.configuration import OnPrimary
from wagtail_smtp.models.log import SHOWN, LogEntry


class SuppressionReason(models.TextChoices, StrEnum):  # type: ignore[misc]  # see choices
    """Why an address is suppressed."""

    BOUNCED = "bounced", _("Hard bounce")
    COMPLAINED = "complained", _("Reported as spam")
    UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
    MANUAL = "manual", _("Added by hand")
    IMPORTED = "imported", _("Imported")


class SuppressedAddress(models.Model):
    """An address that gets no more email, except of categories that are never suppressed.

    Use :mod:`wagtail_smtp.suppression` to add and remove addresses.
    """

    #: SHA-256 of the normalised address, in hexadecimal. It identifies the address, because
    #: MySQL's collations take different addresses for the same, and because it remains when a
    #: person is erased: without it, that person would be emailed again.
    digest = models.CharField(max_length=64, unique=True, editable=False)
    #: In lower case, with an encoded domain; empty once it was erased.
    address = models.CharField(_("address"), max_length=SHOWN, blank=True)
    domain = models.CharField(max_length=SHOWN, blank=True, editable=False)
    reason = models.CharField(_("reason"), max_length=16, choices=SuppressionReason.choices)
    #: The response of the server, or what the person who added it wrote.
    detail = models.CharField(_("details"), max_length=2 * SHOWN, blank=True, default="")
    created_at = models.DateTimeField(
        _("suppressed since"), default=timezone.now, db_index=True, editable=False
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("added by"),
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    #: The message that bounced. It may have been pruned.
    entry = models.ForeignKey(
        LogEntry,
        null=True,
        editable=False,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )

    objects = OnPrimary()

    #: Wagtail would record each address as a use of the user who added it.
    wagtail_reference_index_ignore = True

    class Meta:
        verbose_name = _("suppressed email address")
        verbose_name_plural = _("suppressed email addresses")
        ordering = ["-id"]
        default_permissions = ("view", "add", "delete")
        indexes = [
            # For the start of an address or domain; see LogRecipient.
            models.Index(
                fields=["address"],
                name="wagtail_smtp_sup_address",
                opclasses=["varchar_pattern_ops"],
            ),
            models.Index(
                fields=["domain", "-id"],
                name="wagtail_smtp_sup_domain",
                opclasses=["varchar_pattern_ops", "int8_ops"],
            ),
            models.Index(fields=["reason", "-id"], name="wagtail_smtp_sup_reason"),
        ]

    def __str__(self) -> str:
        return self.address or str(_("(erased address)"))
