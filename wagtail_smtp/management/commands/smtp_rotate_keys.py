"""manage.py smtp_rotate_keys: encrypt all stored secrets with the newest key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from wagtail_smtp import crypto
from wagtail_smtp.exceptions import SecretUnreadable
from wagtail_smtp.live.database import write_alias
from wagtail_smtp.models import DeliverySettings, Secret


class Command(BaseCommand):
    """After a new key was put first in ENCRYPTION_KEYS; then old keys can be removed."""

    help = "Encrypt all stored passwords again with the first of WAGTAIL_SMTP['ENCRYPTION_KEYS']."

    def handle(self, *args: Any, **options: Any) -> None:
        rotated, unreadable = 0, []
        with transaction.atomic(using=write_alias()):
            DeliverySettings.lock()
            for secret in Secret.objects.exclude(ciphertext=""):
                try:
                    secret.ciphertext = crypto.rotate(secret.ciphertext)
                except SecretUnreadable:
                    unreadable.append(secret.pk)
                    continue
                secret.save(update_fields=["ciphertext"])
                rotated += 1
        self.stdout.write(f"{rotated} stored passwords are encrypted with the newest key.")
        if unreadable:
            raise CommandError(
                f"{len(unreadable)} can't be decrypted with any configured key and were left as "
                "they are. Add the missing key, or enter these passwords again in the admin."
            )
