"""The versions of the live configuration; the newest is live."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.config.values import FORMAT
from wagtail_smtp.models.base import OnPrimary


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
