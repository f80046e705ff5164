"""Erase an email address from the delivery log, the outbox, alerts and the suppression list.

Entries are erased one by one, each in its own transaction, so after an interruption the erasure can
simply be run again. Every entry and stored message is read, because senders, responses and
encrypted messages have no index. Settings sets and versions that contain the address are only
listed; an administrator has to change them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from email.utils import getaddresses
from functools import partial
from itertools import chain
from typing import Any

from django.db import models, transaction
from django.db.models import F, Q

from wagtail_smtp import suppression
from wagtail_smtp.config.validation import is_email_address, unicode_host
from wagtail_smtp.delivery.log import entries, stored_message, tracking_events
from wagtail_smtp.delivery.log.stored_message import FrozenMessage
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.live.db import connections, retry
from wagtail_smtp.live.db.expressions import same
from wagtail_smtp.models import (
    Alert,
    ConfigurationVersion,
    LogAttempt,
    LogEntry,
    LogRecipient,
    ReportEmail,
    SettingsSet,
    SiteSender,
    StoredMessage,
    SuppressedAddress,
)
from wagtail_smtp.outbox import claims, outcomes

#: Replaces the address in texts.
ERASED = "erased"

#: Rows read together.
_BATCH = 500
#: Characters of a local part: an address preceded by one of them is another address.
_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~-]"


class Erasure:
    """Erases one address.

    An entry is deleted, and its message no longer sent, if the address is its only recipient, its
    sender, or in a header of the message such as Reply-To. Other entries are kept without the
    address and without the message.

    Attributes:
        counts: ``deleted`` and ``kept`` entries, deleted stored ``messages``, ``cancelled`` outbox
            messages, ``unreadable`` stored messages, and ``suppressed`` addresses of which only the
            hash is kept.
        remaining: the numbers of entries that can't be erased yet, because the outbox is sending
            the message or still has to send it to other recipients.
    """

    def __init__(self, address: str, *, dry_run: bool = False) -> None:
        """Raises ValueError if ``address`` is not an email address."""
        if not is_email_address(address):
            raise ValueError(f"{address!r} is not an email address.")
        self.counts: Counter[str] = Counter()
        self.remaining: list[int] = []
        self._dry_run = dry_run
        self._done: set[int] = set()
        self._address = entries.recipient(address, "").address
        self._local, _at, domain = self._address.rpartition("@")
        forms = {address, self._address, f"{self._local}@{unicode_host(domain)}"}
        either = "|".join(map(re.escape, forms))
        # A quotation mark may begin a local part too, so there must be one on both sides.
        self._named = re.compile(
            rf"(?<!{_LOCAL})(?:{either})(?![\w-]|\.\w)"
            rf"|(?<=(?<!{_LOCAL})['`*{{|])(?:{either})(?=['`*}}|])",
            re.IGNORECASE,
        )
        self._clean = partial(self._named.sub, ERASED)

    def run(self) -> None:
        """Erase the address; with ``dry_run``, only count what would be erased."""
        for key in chain(self._entries_to(), self._entries_naming()):
            self._erase(key)
        for key in self._entries_of_messages_naming():
            self._erase(key, is_personal=True)
        self._erase_suppressed()
        if not self._dry_run:
            tracking_events.erase(self._address, self._clean, None)
            self._clean_alerts()
        stored_message.forget()

    def _erase_suppressed(self) -> None:
        """Keep only the hash of a suppressed address, without which it would be emailed again."""
        rows = _rows(SuppressedAddress).filter(
            Q(digest=suppression.digest(self._address)) & ~Q(address="")
            | Q(detail__icontains=f"{self._local}@")
        )
        for row in list(rows.iterator()):
            if row.address == self._address:
                self.counts["suppressed"] += 1
                values: dict[str, Any] = {"address": "", "domain": "", "detail": "", "entry": None}
            else:
                values = {"detail": self._clean(row.detail)}
            if not self._dry_run:
                _rows(SuppressedAddress).filter(pk=row.pk).update(**values)

    def _clean_alerts(self) -> None:
        """Remove the address from alerts, which contain subjects and responses of servers."""
        rows = _rows(Alert)
        for keys in _batches(rows):
            for alert in rows.filter(pk__gte=keys[0], pk__lte=keys[-1]):
                if self._names(alert.subject) or self._names(alert.text):
                    subject, text = self._clean(alert.subject), self._clean(alert.text)
                    rows.filter(pk=alert.pk).update(subject=subject, text=text)

    def configured(self) -> Iterator[str]:
        """Describe where the configuration contains the address."""
        for item in SettingsSet.objects.all():
            for name in ("username", "sender_name", "sender_address", "bounce_address"):
                if self._names(getattr(item, name)):
                    yield f"SMTP settings {item.name}: {name}"
            reports = ReportEmail.objects.filter(settings_set=item)
            if any(self._names(report.address) for report in reports):
                yield f"SMTP settings {item.name}: report emails"
            senders = SiteSender.objects.filter(settings_set=item)
            if any(self._names(f"{each.sender_name} {each.sender_address}") for each in senders):
                yield f"SMTP settings {item.name}: senders of sites"
        for version in ConfigurationVersion.objects.order_by("number"):
            if self._names(json.dumps(version.content, ensure_ascii=False)):
                yield f"Version {version.number}"

    def _names(self, text: str) -> bool:
        """Whether a text contains the address."""
        if self._named.search(text):
            return True
        return any(self._is_same(address) for _name, address in getaddresses([text]))

    def _is_same(self, address: str) -> bool:
        """Whether an address, with or without a name, is the one to erase."""
        try:
            return entries.recipient(address, "").address == self._address
        except ValueError:
            return False  # an invalid domain

    def _entries_to(self) -> Iterator[int]:
        recipients = _rows(LogRecipient).filter(same("address", self._address))
        for keys in _batches(recipients):
            yield from recipients.filter(pk__in=keys).values_list("entry_id", flat=True)

    def _entries_naming(self) -> Iterator[int]:
        """Entries whose sender, subject or reason contains the address."""
        rows = _rows(LogEntry)
        columns = ("sender", "subject", "reason")
        # Every database ignores the case of ASCII letters; the rest is compared here.
        is_candidate = Q()
        for name in columns:
            is_candidate |= Q(**{f"{name}__icontains": f"{self._local}@"})
        for keys in _batches(rows):
            found = rows.filter(is_candidate, pk__gte=keys[0], pk__lte=keys[-1])
            for key, *texts in list(found.values_list("pk", *columns)):
                if any(map(self._names, texts)):
                    yield key

    def _entries_of_messages_naming(self) -> Iterator[int]:
        """Entries whose stored message contains the address in a header."""
        rows = _rows(StoredMessage)
        for key in chain.from_iterable(_batches(rows)):
            stored = rows.filter(pk=key).first()
            if stored is None:
                continue
            try:
                message = stored_message.opened(stored.content, stored.entry_id)
            except MessageUnreadable:
                self.counts["unreadable"] += 1
                continue
            if self._names(_headers(message)):
                yield stored.entry_id

    def _erase(self, key: int, *, is_personal: bool = False) -> None:
        """Erase one entry. ``is_personal``: its message names the address in a header."""
        if key in self._done:
            return
        self._done.add(key)
        before = self.counts.copy()

        @retry.in_transaction
        def work() -> bool:
            self.counts = before.copy()  # the transaction may be repeated
            is_erased = self._erase_entry(key, is_personal)
            if self._dry_run:
                transaction.set_rollback(True, using=connections.write_alias())
            return is_erased

        if not work():
            self.remaining.append(key)

    def _erase_entry(self, key: int, is_personal: bool) -> bool:
        """Erase one entry in the open transaction; False: the outbox still needs it."""
        # Lock it with a write: on SQLite, a transaction that writes must begin with one.
        rows = _rows(LogEntry).filter(pk=key)
        if not rows.update(changed_at=F("changed_at")):
            return True
        entry = rows.get()
        others = [
            item
            for item in _rows(LogRecipient).filter(entry=entry)
            if item.address != self._address and not _is_report_email(entry, item)
        ]
        is_personal = is_personal or not others or self._names(entry.sender)
        stored = _rows(StoredMessage).filter(entry=entry)
        messages = stored.count()
        if claims.rows().filter(entry=entry).exists():
            if not is_personal or not outcomes.cancel(entry):
                return False
            self.counts["cancelled"] += 1
        self.counts["messages"] += messages
        if is_personal:
            self.counts["deleted"] += 1
            entry.delete()
        else:
            self.counts["kept"] += 1
            stored_message.discard([entry.pk])
            self._remove_address(entry)
        return True

    def _remove_address(self, entry: LogEntry) -> None:
        """Remove the recipient, and the address from texts, of an entry that is kept."""
        _rows(LogRecipient).filter(same("address", self._address), entry=entry).delete()
        for model in (LogRecipient, LogAttempt):
            for row in _rows(model).filter(entry=entry):
                if self._names(row.reply):
                    row.reply = self._clean(row.reply)
                    row.save(update_fields=["reply"])
        tracking_events.erase(self._address, self._clean, entry.pk)
        entry.subject, entry.reason = self._clean(entry.subject), self._clean(entry.reason)
        entry.save(update_fields=["subject", "reason"])


def _rows(model: type[models.Model]) -> Any:
    """The rows of a model on the database they are written to, never from a replica."""
    return model._default_manager.using(connections.write_alias())


def _batches(rows: "models.QuerySet[Any]") -> Iterator[list[int]]:
    """The keys of rows in batches, because there may be many and they are deleted meanwhile."""
    last = 0
    while keys := list(
        rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:_BATCH]
    ):
        yield keys
        last = keys[-1]


def _is_report_email(entry: LogEntry, item: LogRecipient) -> bool:
    """Whether the recipient is a report email that replaced the original recipients."""
    return bool(entry.redirected_by) and item.role == LogRecipient.Role.ENVELOPE


def _headers(message: FrozenMessage) -> str:
    """The values of a message's headers."""
    addresses = (*message.to, *message.cc, *message.bcc, *message.reply_to)
    fields = (message.from_email, message.subject, *addresses, *message.extra_headers.values())
    return "\n".join(map(str, fields))
