"""The certificates that mail servers presented, to warn before they expire."""

from django.db import models

from wagtail_smtp.models.configuration import OnPrimary


class ServerCertificate(models.Model):
    """The certificate that a live set's server presented last. ``server`` is ``host:port``.

    ``seen_at`` is about when, because it is written at most once a day.
    """

    server = models.CharField(max_length=262, unique=True, editable=False)
    starts_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(editable=False)
    seen_at = models.DateTimeField(editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.server
