"""Access and refresh tokens of OAuth 2, one row for a set and what its token is bound to."""

import uuid

from django.db import models

from wagtail_smtp.models.base import OnPrimary


class OAuthToken(models.Model):
    """A token with its binding inside the ciphertext, and who renews it.

    ``owner`` is the key of the settings set. ``fingerprint`` finds the row of one binding: set and
    live version may have different ones, and each keeps its own token. ``number`` counts tokens up.
    Whoever renews it holds ``lease`` until ``leased_until``. ``refusal`` says why that failed last.
    ``revoked_at`` says that somebody removed the consent; the row goes as soon as the version in
    force doesn't need it.
    """

    owner = models.UUIDField(default=uuid.uuid4, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    ciphertext = models.TextField(blank=True, editable=False)
    number = models.PositiveIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)
    lease = models.CharField(max_length=32, blank=True, editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)
    refused_at = models.DateTimeField(null=True, editable=False)
    refusal = models.JSONField(default=dict, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "fingerprint"], name="wagtail_smtp_oauthtoken_binding"
            )
        ]

    def __str__(self) -> str:
        return f"Token {self.pk}"
