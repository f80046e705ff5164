"""manage.py smtp_rotate_keys: encrypt all stored secrets and messages with the newest key."""

from typing import Any

from django.core.management.base import CommandError
from django.db.models import F

from wagtail_smtp.config import crypto
from wagtail_smtp.exceptions import SecretUnreadable
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.management.base import EmailCommand
from wagtail_smtp.models import DeliverySettings, OAuthToken, Secret, StoredMessage

#: How many messages to list at a time.
_BATCH = 500


class Command(EmailCommand):
    """Run this after adding a new key as the first of ENCRYPTION_KEYS, to remove old keys later."""

    help = (
        "Encrypt all saved passwords, tokens and messages again with the first of "
        "WAGTAIL_SMTP['ENCRYPTION_KEYS']. The site can go on sending email with the same keys."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        passwords, lost_passwords = self._passwords()
        self.stdout.write(f"Passwords encrypted with the newest key: {passwords}")
        tokens, lost_tokens = self._tokens()
        self.stdout.write(f"Tokens encrypted with the newest key: {tokens}")
        messages, lost_messages = self._messages()
        self.stdout.write(f"Messages encrypted with the newest key: {messages}")
        if lost_passwords or lost_tokens or lost_messages:
            raise CommandError(
                f"{lost_passwords} passwords, {lost_tokens} tokens and {lost_messages} messages "
                "can't be decrypted with any configured key and were not changed. Add the missing "
                "key. Or enter these passwords again in the admin, and give consent again."
            )

    @in_transaction
    def _passwords(self) -> tuple[int, int]:
        """Return how many were encrypted again, and how many can't be decrypted."""
        rotated = unreadable = 0
        DeliverySettings.lock()
        for secret in Secret.objects.exclude(ciphertext=""):
            try:
                secret.ciphertext = crypto.rotate(secret.ciphertext)
            except SecretUnreadable:
                unreadable += 1
                continue
            secret.save(update_fields=["ciphertext"])
            rotated += 1
        return rotated, unreadable

    def _tokens(self) -> tuple[int, int]:
        """The same for tokens. A token renewed meanwhile already uses the newest key."""
        rotated = unreadable = 0
        rows = OAuthToken.objects.using(write_alias()).exclude(ciphertext="")
        for key, ciphertext in rows.values_list("pk", "ciphertext"):
            try:
                newest = crypto.rotate(ciphertext)
            except SecretUnreadable:
                unreadable += 1
                continue
            rows.filter(pk=key, ciphertext=ciphertext).update(ciphertext=newest)
            rotated += 1
        return rotated, unreadable

    def _messages(self) -> tuple[int, int]:
        """The same for messages, one per transaction so that others don't wait."""
        rotated = unreadable = last = 0
        rows = StoredMessage.objects.using(write_alias()).order_by("pk")
        while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:_BATCH]):
            for key in keys:
                try:
                    rotated += self._message(key)
                except SecretUnreadable:
                    unreadable += 1
            last = keys[-1]
        return rotated, unreadable

    @in_transaction
    def _message(self, key: int) -> bool:
        """Encrypt one message again; False if it was deleted meanwhile."""
        row = StoredMessage.objects.using(write_alias()).filter(pk=key)
        # Writing locks the row, so its content can't change before the next update.
        if not row.update(size=F("size")):
            return False
        content = crypto.reseal(bytes(row.values_list("content", flat=True).get()))
        row.update(content=content, size=len(content))
        return True
