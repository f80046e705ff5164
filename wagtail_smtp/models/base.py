"""Base class of settings sets and the delivery method, with a revision to detect stale saves."""

from typing import Any

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


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
