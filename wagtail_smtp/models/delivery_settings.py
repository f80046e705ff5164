"""The delivery method, in a single row that also serves as the lock for all changes."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _
from modelcluster.fields import ParentalKey

from wagtail_smtp.config import validation
from wagtail_smtp.models.base import OnPrimary, StagedModel


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
