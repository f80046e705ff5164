"""manage.py smtp_rotate_keys: encrypt all stored secrets and messages with the newest key."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.core.management.base import CommandError
from django.db.models import F

from wagtail_smtp.config import crypto
from wagtail_smtp.exceptions import SecretUnreadable
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import DeliverySettings, OAuthToken, Secret, StoredMessage, StoredPiece

#: How many messages to list at a time.
_BATCH = 500
T = TypeVar("T", str, bytes)


class Command(EmailCommand):
    """Run this after adding a new key as the first of ENCRYPTION_KEYS, to remove old keys later."""

    help = (
        "Encrypt all saved passwords, tokens and messages again with the first of "
        "WAGTAIL_SMTP['ENCRYPTION_KEYS']. The site can go on sending email with the same keys."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable = {}
        for kind, rotate in (
            ("passwords", self._passwords),
            ("tokens", self._tokens),
            ("messages", self._messages),
        ):
            counts = Counter(rotate())
            self.stdout.write(f"{kind.capitalize()} encrypted with the newest key: {counts[True]}")
            unreadable[kind] = counts[False]
        if any(unreadable.values()):
            raise CommandError(
                "{passwords} passwords, {tokens} tokens and {messages} messages can't be decrypted "
                "with any configured key and were not changed. Add the missing key. Or enter these "
                "passwords again in the admin, and give consent again.".format(**unreadable)
            )

    @in_transaction
    def _passwords(self) -> list[bool]:
        """Return for each password whether it could be decrypted and encrypted again."""
        DeliverySettings.lock()
        results = []
        for secret in Secret.objects.exclude(ciphertext=""):
            newest = _newest(crypto.rotate, secret.ciphertext)
            if newest is not None:
                secret.ciphertext = newest
                secret.save(update_fields=["ciphertext"])
            results.append(newest is not None)
        return results

    def _tokens(self) -> Iterator[bool]:
        """The same for tokens. A token renewed meanwhile already uses the newest key."""
        rows = OAuthToken.objects.using(write_alias()).exclude(ciphertext="")
        for key, ciphertext in rows.values_list("pk", "ciphertext"):
            newest = _newest(crypto.rotate, ciphertext)
            if newest is not None:
                rows.filter(pk=key, ciphertext=ciphertext).update(ciphertext=newest)
            yield newest is not None

    def _messages(self) -> Iterator[bool | None]:
        """The same for messages, one per transaction so that others don't wait."""
        rows, last = StoredMessage.objects.using(write_alias()).order_by("pk"), 0
        while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:_BATCH]):
            yield from map(self._message, keys)
            last = keys[-1]

    @in_transaction
    def _message(self, key: int) -> bool | None:
        """Encrypt one message again; None if it was deleted meanwhile."""
        row = StoredMessage.objects.using(write_alias()).filter(pk=key)
        # Writing locks the row, so its content can't change before the next update.
        if not row.update(size=F("size")):
            return None
        entry = row.values_list("entry", flat=True).get()
        pieces = StoredPiece.objects.using(write_alias()).filter(entry=entry)
        others = [pieces.filter(pk=piece) for piece in pieces.values_list("pk", flat=True)]
        for part in (row, *others):
            content = _newest(crypto.reseal, bytes(part.values_list("content", flat=True).get()))
            if content is None:
                return False
            part.update(content=content)
        return True


def _newest(rotate: Callable[[T], T], encrypted: T) -> T | None:
    """Encrypt a value again; None if no configured key can decrypt it."""
    try:
        return rotate(encrypted)
    except SecretUnreadable:
        return None
