"""How much of its limits each settings set has used."""

from django.db import models

from wagtail_smtp.models.configuration import OnPrimary


class SetUsage(models.Model):
    """What a set has sent lately. Only sets with limits, or with a quota that is used up, have one.

    To change a row, lock it first by writing ``changed_at`` (of the database's clock).
    """

    #: The set's. Without a foreign key: a set that is deleted stays live until the next reload.
    set_key = models.UUIDField(editable=False)
    #: Where it was sent. A copied database begins with nothing.
    environment = models.CharField(max_length=50, blank=True, default="", editable=False)
    #: See :class:`wagtail_smtp.config.limits.Ledger`.
    content = models.JSONField(default=dict, editable=False)
    changed_at = models.DateTimeField(editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["set_key", "environment"], name="wagtail_smtp_setusage_set"
            )
        ]

    def __str__(self) -> str:
        return str(self.set_key)
