"""App configuration: registers checks and connects receivers."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WagtailSMTPConfig(AppConfig):
    """The wagtail-smtp app."""

    name = "wagtail_smtp"
    label = "wagtail_smtp"
    verbose_name = _("Email")
    default_auto_field = "django.db.models.BigAutoField"
