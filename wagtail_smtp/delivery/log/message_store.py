"""Whole messages in the database: frozen, compressed, encrypted, within a quota."""

import threading
import time

from django.db import connections
from django.db.models import Sum

from wagtail_smtp import alerts
from wagtail_smtp.conf import conf
from wagtail_smtp.config import crypto
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.log.stored_message import FrozenMessage
from wagtail_smtp.exceptions import (
    MessageLocked,
    MessageUnreadable,
    SecretUnreadable,
    StorageFull,
)
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import LogEntry, StoredMessage
from wagtail_smtp.runtime import forks

#: Percent of what may be stored, from which on ADMINS are told.
WARN_AT = 80
#: Bytes of a message that every MySQL and MariaDB in use accepts, with some for the rest of a
#: statement.
_ALWAYS_FITS, _OF_STATEMENT = 64 * 1024, 4 * 1024
#: Seconds for which the sum of what is stored is taken from memory.
_REMEMBERED = 60


def keep(entry: LogEntry, frozen: bytes) -> None:
    """Store the message of an entry, as :func:`freeze.freeze` writes it.

    Raises:
        StorageFull: the messages in all would be larger than the quota, or this one is larger
            than the database accepts. Nothing was written, and the transaction is unharmed.
    """
    content = crypto.seal(frozen)
    _check_size(content)
    _usage.add(len(content))
    # By its key: the entry itself would say that it is stored, also after a rollback.
    StoredMessage.objects.create(entry_id=entry.pk, content=content, size=len(content))


def _check_size(content: bytes) -> None:
    """Refuse what MySQL and MariaDB would end the connection for, and with it the transaction.

    The limit is asked for each time: it can be changed while this process runs.
    """
    connection = connections[db_connections.write_alias()]
    if connection.vendor != "mysql" or len(content) < _ALWAYS_FITS:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    # The driver sends the content as a literal, with a backslash before some bytes.
    escaped = sum(content.count(byte) for byte in b"\0\n\r\x1a'\"\\")
    if len(content) + escaped + _OF_STATEMENT > limit:
        raise StorageFull(
            f"The message is larger than the database accepts: {len(content)} bytes once "
            f"compressed and encrypted, where max_allowed_packet is {limit}."
        )


def load(entry: LogEntry) -> FrozenMessage:
    """The message of an entry.

    Raises:
        MessageUnreadable: it isn't stored, its key is gone, or it is damaged.
    """
    stored = StoredMessage.objects.using(db_connections.write_alias()).filter(entry=entry)
    return opened(stored.values_list("content", flat=True).first())


def opened(content: bytes | None) -> FrozenMessage:
    """The message in a row's content, None if there is no row; errors as those of :func:`load`."""
    if content is None:
        raise MessageUnreadable("The message is not stored any more.")
    try:
        return stored_message.thaw(crypto.unseal(bytes(content)))
    except SecretUnreadable as error:
        raise MessageLocked(
            "The stored message can't be decrypted: this process lacks the key it was stored with."
        ) from error


def percent_used() -> int:
    """How much of what may be stored is stored."""
    rows = StoredMessage.objects.using(db_connections.write_alias())
    return int(100 * (rows.aggregate(octets=Sum("size"))["octets"] or 0) // conf.MAX_STORED)


class _Usage:
    """How many bytes are stored, cached in this process for a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._octets = 0
        self._known_until = 0.0

    def add(self, octets: int) -> None:
        """Count ``octets`` more, unless that is too much.

        Raises:
            StorageFull: it is.
        """
        now = time.monotonic()
        if now >= self._known_until:
            rows = StoredMessage.objects.using(db_connections.write_alias())
            stored = rows.aggregate(octets=Sum("size"))["octets"] or 0
            with self._lock:
                self._octets, self._known_until = stored, now + _REMEMBERED
        with self._lock:
            if self._octets + octets > conf.MAX_STORED:
                # Room may be made any moment; the next one asks again.
                self._known_until = 0.0
                alerts.note_store_usage(100)
                raise StorageFull(
                    f"The stored messages would be larger than {conf.MAX_STORED} bytes "
                    "(WAGTAIL_SMTP['MAX_STORED'])."
                )
            self._octets += octets
            percent = 100 * self._octets // conf.MAX_STORED
        if percent >= WARN_AT:
            alerts.note_store_usage(percent)


_usage = _Usage()
forks.after_in_child(lambda: _usage.__init__())  # type: ignore[misc]


def forget() -> None:
    """Ask the database again how much is stored; for tests and after pruning."""
    _usage.__init__()  # type: ignore[misc]
