"""Addresses that receive a set's redirected email."""

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from modelcluster.fields import ParentalKey

from wagtail_smtp.config import validation
from wagtail_smtp.models.base import OnPrimary


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
