"""What set and method share: a revision number that makes a stale save visible."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.models.primary import OnPrimary


class StagedModel(models.Model):
    """A row that is edited now and takes effect with the next reload."""

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
        """Count up the revision and note who changed it; the caller saves."""
        self.revision += 1
        self.changed_at = timezone.now()
        self.changed_by = user if getattr(user, "pk", None) else None
