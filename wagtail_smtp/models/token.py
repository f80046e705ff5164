"""OAuth 2 access and refresh tokens, one row per settings set and binding."""

import uuid

from django.db import models

from wagtail_smtp.models.base import OnPrimary


class OAuthToken(models.Model):
    """A token with its binding inside the ciphertext, and the lease for renewing it.

    ``owner`` is the key of the settings set. ``fingerprint`` identifies the binding: the
    saved set and the live version may differ, and each keeps its own token. ``number`` counts
    tokens. The process that renews it holds ``lease`` until ``leased_until``. ``refusal`` is why
    the last renewal failed. ``revoked_at`` is when the consent was removed; the row is deleted as
    soon as the live version doesn't need it.
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
