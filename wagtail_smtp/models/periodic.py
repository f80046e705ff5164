"""When the site last ran each of its periodic tasks."""

from django.db import models

from wagtail_smtp.models.configuration import OnPrimary


class PeriodicRun(models.Model):
    """The last run of a task. Times are those of the database's clock."""

    name = models.CharField(max_length=50, editable=False)
    #: Where it ran; empty if the environment has no name.
    environment = models.CharField(max_length=50, blank=True, default="", editable=False)
    ran_at = models.DateTimeField(editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["name", "environment"], name="wagtail_smtp_periodicrun_name"
            )
        ]

    def __str__(self) -> str:
        return self.name
