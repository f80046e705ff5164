"""Reading where is written: what decides something must not come from a replica."""

from typing import Any

from django.db import models, router


class OnPrimary(models.Manager):
    """Looks rows up in the database that changes go to, whatever a router says of reads.

    A replica lags: a form would take a stale revision for the newest, and a reload discard
    a password that was stored a moment ago.
    """

    def get_queryset(self) -> Any:
        """All rows, of the database named by ``using()`` or else of the primary."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))
