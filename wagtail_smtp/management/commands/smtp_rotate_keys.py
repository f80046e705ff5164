"""manage.py smtp_rotate_keys: encrypt all that is stored encrypted with the newest key."""

from typing import Any

from django.core.management.base import CommandError
from django.db.models import F

from wagtail_smtp.config import crypto
from wagtail_smtp.exceptions import SecretUnreadable
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.management.base import EmailCommand
from wagtail_smtp.models import DeliverySettings, OAuthToken, Secret, StoredMessage

#: Keys of messages that are read at a time.
_BATCH = 500


class Command(EmailCommand):
    """After a new key was put first in ENCRYPTION_KEYS; then old keys can be removed."""

    help = (
        "Encrypt all stored passwords, tokens and messages again with the first of "
        "WAGTAIL_SMTP['ENCRYPTION_KEYS']. Mail may go on meanwhile, with the same keys."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        passwords, lost_passwords = self._passwords()
        self.stdout.write(f"{passwords} stored passwords are encrypted with the newest key.")
        tokens, lost_tokens = self._tokens()
        self.stdout.write(f"{tokens} tokens are encrypted with the newest key.")
        messages, lost_messages = self._messages()
        self.stdout.write(f"{messages} stored messages are encrypted with the newest key.")
        if lost_passwords or lost_tokens or lost_messages:
            raise CommandError(
                f"{lost_passwords} passwords, {lost_tokens} tokens and {lost_messages} messages "
                "can't be decrypted with any configured key and were left as they are. Add the "
                "missing key, or enter these passwords again in the admin and consent again."
            )

    @in_transaction
    def _passwords(self) -> tuple[int, int]:
        """How many were encrypted again, and how many can't be."""
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
        """The same. A token that was renewed meanwhile has the newest key already."""
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
        """The same; one message a transaction, so that nobody waits for long or for each other."""
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
        """Whether it is still there."""
        row = StoredMessage.objects.using(write_alias()).filter(pk=key)
        # Locked by writing: nobody gives it another content in between.
        if not row.update(size=F("size")):
            return False
        content = crypto.reseal(bytes(row.values_list("content", flat=True).get()))
        row.update(content=content, size=len(content))
        return True
