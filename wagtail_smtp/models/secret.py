"""Secrets in a separate table, so that rotating and revoking touch only that."""

import uuid
from collections.abc import Mapping

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config import crypto
from wagtail_smtp.config.references import MAX_LENGTH, SecretContent
from wagtail_smtp.exceptions import SecretUnreadable
from wagtail_smtp.models.configuration import OnPrimary


class Secret(models.Model):
    """An encrypted value that includes its binding; sets and versions refer to it by id.

    ``owner`` is the key of the settings set it was entered for. ``revoked_at`` is when it was
    removed; its ciphertext is emptied as soon as the live version doesn't need it.

    ``references`` says where values are read that aren't stored: the name of the value, such as
    ``password`` or an email provider's option, to ``env:VARIABLE`` or ``file:/path``. The encrypted
    value contains the same reference, so it is bound to its destination like a password.
    """

    owner = models.UUIDField(default=uuid.uuid4, editable=False, db_index=True)
    ciphertext = models.TextField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    references = models.JSONField(default=dict, editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Secret {self.pk}"

    @classmethod
    @sensitive_variables("value")
    def store(
        cls,
        value: str,
        binding: Mapping[str, str],
        owner: uuid.UUID,
        references: Mapping[str, str] | None = None,
    ) -> "Secret":
        """Encrypt ``value`` for ``binding`` and save it."""
        return cls.objects.create(
            ciphertext=crypto.encrypt(value, binding),
            owner=owner,
            references=dict(references or {}),
        )

    def content(self, binding: Mapping[str, str]) -> SecretContent:
        """Return the value in plain text, with the references that it contains.

        Raises:
            SecretError: as :meth:`reveal`.
        """
        return SecretContent(self.reveal(binding), self.references)

    def reveal(self, binding: Mapping[str, str]) -> str:
        """Return the value in plain text; where it is read from elsewhere, the reference.

        Raises:
            SecretUnreadable: it was removed, or its key is gone.
            SecretBoundElsewhere: it was stored for another destination.
        """
        if not self.ciphertext:
            raise SecretUnreadable(_("The stored password was removed."), kind="missing")
        return crypto.decrypt(self.ciphertext, binding)


class ReferenceUse(models.Model):
    """A destination that the value of a variable or file may be sent to.

    The first destination that a reference is saved or tested for is recorded here. In the admin it
    can't be used for others: an administrator could send the site's password to a server of their
    own. Rows are kept even if the settings set is deleted.

    ``reference`` is ``env:VARIABLE`` or ``file:/path``, ``destination`` a SHA-256 digest of the
    binding, and ``server`` what people read. ``used_by`` entered it, and may still choose another
    destination until ``is_final``: a version with it was made live, or a developer chose it.
    """

    reference = models.CharField(max_length=MAX_LENGTH, editable=False)
    destination = models.CharField(max_length=64, editable=False)
    server = models.CharField(max_length=255, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    used_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    is_final = models.BooleanField(default=False, editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["reference", "destination"], name="wagtail_smtp_referenceuse_destination"
            )
        ]

    def __str__(self) -> str:
        return f"{self.reference} for {self.server}"


class OAuthToken(models.Model):
    """An encrypted token that includes its binding, and the lease for renewing it.

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
