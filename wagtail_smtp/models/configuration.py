"""The delivery method, report emails, senders of sites, live versions, and the base of all that
needs a reload.

The row with the delivery method also serves as the lock for all changes.
"""

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from modelcluster.fields import ParentalKey

from wagtail_smtp.config import validation
from wagtail_smtp.config.values import FORMAT


class OnPrimary(models.Manager):
    """Reads from the database that is written to, whatever the router returns for reads.

    A replica can lag: a form would accept a stale revision, and a reload would discard a password
    that was just stored.
    """

    def get_queryset(self) -> Any:
        """All rows, from the database given with ``using()`` or else from the primary."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))


class StagedModel(models.Model):
    """A row whose changes take effect with the next reload."""

    revision = models.PositiveIntegerField(default=0, editable=False)
    changed_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("changed by"),
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    objects = OnPrimary()

    class Meta:
        abstract = True

    def stamp(self, user: Any) -> None:
        """Increment the revision and set who changed it and when, without saving."""
        self.revision += 1
        self.changed_at = timezone.now()
        self.changed_by = user if getattr(user, "pk", None) else None


def newest_format() -> int:
    """The current format; a function, so that migrations don't contain its value."""
    return FORMAT


class ConfigurationVersion(models.Model):
    """A frozen configuration. Rows are only added; old ones are pruned.

    Compare versions by number *and* ``identity``: a number can be reused after a transaction is
    rolled back or a database is restored.
    """

    number = models.PositiveIntegerField(_("version"), unique=True, editable=False)
    identity = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    format = models.PositiveSmallIntegerField(default=newest_format, editable=False)
    content = models.JSONField(editable=False)
    created_at = models.DateTimeField(_("live since"), default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("by"),
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    reason = models.CharField(_("reason"), max_length=200, blank=True, editable=False)
    #: Where it was made live; empty if that environment had no name.
    environment = models.CharField(_("environment"), max_length=50, blank=True, editable=False)

    objects = OnPrimary()

    class Meta:
        verbose_name = _("email settings version")
        verbose_name_plural = _("email settings versions")
        ordering = ["-number"]
        default_permissions = ("view",)
        permissions = [
            ("reload_application", _("Can apply saved email settings (Reload application)"))
        ]

    def __str__(self) -> str:
        return str(_("Version %(number)d") % {"number": self.number})


class DeliverySettings(StagedModel):
    """The delivery method; there is only one row."""

    class Method(models.TextChoices):
        CUSTOM = "custom", _("Custom")
        STANDARD = "standard", _("Standard")

    method = models.CharField(
        _("delivery method"), max_length=16, choices=Method.choices, default=Method.CUSTOM
    )
    lock_counter = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("email delivery method")
        verbose_name_plural = _("email delivery method")
        default_permissions = ("change",)

    def __str__(self) -> str:
        return str(self._meta.verbose_name)

    @classmethod
    def load(cls) -> "DeliverySettings":
        """The row, or an unsaved one with the defaults."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)

    @classmethod
    def lock(cls) -> "DeliverySettings":
        """Lock the configuration against other changes, and return the row.

        Call this first in ``atomic()``. It locks by writing, because SQLite has no
        ``SELECT ... FOR UPDATE``, and a transaction that begins by reading can't write after
        another one has written.
        """
        rows = cls.objects.filter(pk=1)
        if not rows.update(lock_counter=F("lock_counter") + 1):
            cls.objects.get_or_create(pk=1)
            rows.update(lock_counter=F("lock_counter") + 1)
        return rows.get()


class ReportEmail(models.Model):
    """An address that receives redirected email."""

    settings_set = ParentalKey(
        "wagtail_smtp.SettingsSet", on_delete=models.CASCADE, related_name="report_emails"
    )
    address = models.EmailField(_("report email"))
    enabled = models.BooleanField(_("enabled"), default=True)
    sort_order = models.IntegerField(null=True, blank=True, editable=False)

    sort_order_field = "sort_order"

    objects = OnPrimary()

    class Meta:
        verbose_name = _("report email")
        verbose_name_plural = _("report emails")
        ordering = ["sort_order", "pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.address

    def clean(self) -> None:
        super().clean()
        if self.address and not validation.is_email_address(self.address):
            raise ValidationError({"address": _("Enter a valid email address.")})


class SiteSender(models.Model):
    """A set's sender for email of one site; what is empty is as in the set."""

    settings_set = ParentalKey(
        "wagtail_smtp.SettingsSet", on_delete=models.CASCADE, related_name="site_senders"
    )
    site = models.ForeignKey(
        "wagtailcore.Site", verbose_name=_("site"), on_delete=models.CASCADE, related_name="+"
    )
    sender_name = models.CharField(
        _("sender name"),
        max_length=150,
        blank=True,
        help_text=_("Leave empty to use the set's sender name."),
    )
    sender_address = models.CharField(
        _("sender address"),
        max_length=254,
        blank=True,
        help_text=_("Leave empty to use the set's sender address."),
    )

    objects = OnPrimary()

    class Meta:
        verbose_name = _("sender of a site")
        verbose_name_plural = _("senders of sites")
        ordering = ["pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.sender_address or self.sender_name

    def clean(self) -> None:
        super().clean()
        if self.sender_address and not validation.is_email_address(self.sender_address):
            raise ValidationError({"sender_address": _("Enter a valid email address.")})
        if not (self.sender_name or self.sender_address):
            raise ValidationError(_("Enter a sender name or a sender address."))
