"""What set and method share: a revision number that makes a stale save visible."""

from typing import Any

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class OnPrimary(models.Manager):
    """Looks rows up in the database that changes go to, whatever a router says of reads.

    A replica lags: a form would take a stale revision for the newest, and a reload discard
    a password that was stored a moment ago.
    """

    def get_queryset(self) -> Any:
        """All rows, of the database named by ``using()`` or else of the primary."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))


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
