"""The suppression list: addresses that aren't emailed again.

This is public: use it in unsubscribe views, or with other sources of bounces. Messages of the
categories in :data:`NEVER` and redirected messages are sent all the same.

The functions use the caller's transaction and connection. On a running event loop, call them with
``sync_to_async``, as everything of the ORM.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db import IntegrityError, transaction

from wagtail_smtp import signals
from wagtail_smtp.categories import ALERT, ERROR, SECURITY
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.live.db import connections, retry
from wagtail_smtp.models import LogEntry, SuppressedAddress, SuppressionReason
from wagtail_smtp.models.log import SHOWN
from wagtail_smtp.transports import mime

__all__ = ["NEVER", "SuppressionReason", "allow", "is_suppressed", "suppress", "suppress_all"]

#: Categories that are sent to suppressed addresses too: a person must be able to log in, and
#: administrators must hear of errors even if one of their addresses was suppressed by mistake.
NEVER = frozenset({SECURITY, ALERT, ERROR})

#: Addresses in one statement: SQLite accepts 999 values in older releases.
_TOGETHER = 500


def suppress(
    address: str,
    reason: str = SuppressionReason.MANUAL,
    *,
    detail: str = "",
    user: Any = None,
    entry: LogEntry | int | None = None,
) -> bool:
    """Add a bare address to the list. If it is already there, its reason remains.

    Args:
        reason: a :class:`SuppressionReason`, such as ``"unsubscribed"``.
        detail: shown in the list, for example the server's response; longer than 510 characters
            is cut off.
        user: who added it.
        entry: the entry in the delivery log, or its number, of the message that bounced.

    Returns:
        Whether it is new. Then ``address_suppressed`` is sent after the transaction.

    Raises:
        ValueError: it is not an email address, or there is no such reason.
    """
    row = new_row(address, reason, detail=detail, user=user, entry=entry)
    if not add(row):
        return False
    alias = connections.write_alias()
    transaction.on_commit(lambda: announce(row), using=alias)
    return True


def suppress_all(
    addresses: Iterable[str],
    reason: str = SuppressionReason.IMPORTED,
    *,
    detail: str = "",
    user: Any = None,
) -> int:
    """Add many bare addresses, a few statements for 500 of them, without sending signals.

    Returns:
        How many are new.

    Raises:
        ValueError: one is not an email address, or there is no such reason; none was added.
    """
    rows = {
        row.digest: row
        for address in addresses
        for row in [new_row(address, reason, detail=detail, user=user)]
    }
    # Each in its own transaction: on SQLite, no message is logged meanwhile.
    return sum(map(_insert, _parts(list(rows.values()))))


def is_suppressed(address: str) -> bool:
    """Whether an address, with or without a name, is on the list. False if it is not valid."""
    return bool(find([address]))


def allow(address: str) -> bool:
    """Remove an address from the list; return whether it was there."""
    normalized = normalize(address)
    if not normalized:
        return False
    deleted, _rows = _all().filter(digest=digest(normalized)).delete()
    return bool(deleted)


def find(addresses: Iterable[str]) -> Mapping[str, SuppressedAddress]:
    """Return those of ``addresses``, as they are written, that are on the list, with their rows.

    One indexed query for 500 addresses.
    """
    wanted: dict[str, list[str]] = {}
    for address in addresses:
        if normalized := normalize(address):
            wanted.setdefault(digest(normalized), []).append(address)
    found: dict[str, SuppressedAddress] = {}
    for digests in _parts(list(wanted)):
        for row in _all().filter(digest__in=digests).order_by():
            found.update(dict.fromkeys(wanted[row.digest], row))
    return found


def normalize(address: str) -> str:
    """Return the bare address in lower case with an encoded domain; empty if it is not valid.

    It is the address that the message is sent to, whatever else is written with it, such as
    ``ada@example.org (Ada)`` or ``"ada"@example.org``.

    Upper and lower case of the local part are the same. RFC 5321 allows a server to distinguish
    them, but none is known that does, and people write their address either way.
    """
    try:
        bare = mime.bare_address(str(address).strip())
    except ValueError:
        return ""  # it can't be sent to
    return bare.lower() if "@" in bare else ""


def digest(normalized: str) -> str:
    """The key of a normalised address in the table."""
    return hashlib.sha256(normalized.encode("utf-8", "surrogateescape")).hexdigest()


def new_row(
    address: str,
    reason: str,
    *,
    detail: str = "",
    user: Any = None,
    entry: LogEntry | int | None = None,
) -> SuppressedAddress:
    """Return an unsaved row; raises ValueError as :func:`suppress`."""
    normalized = normalize(address)
    if not normalized or not is_email_address(str(address).strip()):
        raise ValueError(f"{address!r} is not an email address.")
    return SuppressedAddress(
        digest=digest(normalized),
        address=normalized[:SHOWN],
        domain=normalized.rpartition("@")[2][:SHOWN],
        reason=SuppressionReason(reason),
        detail=" ".join(str(detail).split())[: 2 * SHOWN],
        created_by=user,
        entry_id=entry.pk if isinstance(entry, LogEntry) else entry,
    )


@retry.in_transaction
def add(row: SuppressedAddress) -> bool:
    """Insert a row unless its address is already there; return whether it was inserted."""
    values = {
        field.attname: getattr(row, field.attname)
        for field in SuppressedAddress._meta.concrete_fields
        if field.attname not in ("id", "digest")
    }
    same = _all().filter(digest=row.digest)
    try:
        _row, is_new = same.get_or_create(digest=row.digest, defaults=values)
    except IntegrityError:
        # With REPEATABLE READ, only a locking read sees what others have added since this
        # transaction began.
        if same.select_for_update().first() is None:
            raise
        return False
    return bool(is_new)


def announce(row: SuppressedAddress) -> None:
    """Send the signal ``address_suppressed`` for a new row."""
    signals.send_robustly(
        signals.address_suppressed,
        SuppressedAddress,
        address=row.address,
        reason=row.reason,
        entry=row.entry_id,
    )


@retry.in_transaction
def _insert(rows: list[SuppressedAddress]) -> int:
    known = _all().filter(digest__in=[row.digest for row in rows])
    stored = set(known.values_list("digest", flat=True))
    new = [row for row in rows if row.digest not in stored]
    # Another process may add one of them at the same time.
    _all().bulk_create(new, ignore_conflicts=True)
    return len(new)


def _all() -> Any:
    return SuppressedAddress.objects.using(connections.write_alias())


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _TOGETHER):
        yield items[start : start + _TOGETHER]
