"""Everything that log and outbox hold about one address, removed or made anonymous.

Entry by entry, each in a transaction of its own: an erasure that was interrupted is simply begun
again. Every entry and every stored message is read once, since senders, server words and what is
encrypted stand in no index. Configuration is only named: people change that, not a command.
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

from wagtail_smtp.config import crypto
from wagtail_smtp.config.validation import is_email_address, mailbox, unicode_host
from wagtail_smtp.delivery.log import entries, stored_message, tracking_events
from wagtail_smtp.delivery.log import stored_message as log_stored_message
from wagtail_smtp.delivery.log.stored_message import FrozenMessage
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.live.db import connections, retry
from wagtail_smtp.live.db.bytewise import same
from wagtail_smtp.models import (
    ConfigurationVersion,
    LogAttempt,
    LogEntry,
    LogRecipient,
    OutboxMessage,
    ReportEmail,
    SettingsSet,
    StoredMessage,
)
from wagtail_smtp.outbox import claims, outcomes

#: What stands where the address stood.
ERASED = "erased"

#: Rows that are looked through at a time.
_BATCH = 500
#: What may stand in a local part: one that only ends like the address is another's.
_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~-]"


class Erasure:
    """One address and what was done about it.

    Attributes:
        counts: ``entries``, ``recipients``, ``messages`` deleted, messages ``cancelled`` in the
            outbox or sent without that recipient (``rewritten``), and stored messages that are
            ``unreadable``.
        sending: numbers of entries that were left alone because they are being sent.
    """

    def __init__(self, address: str, *, dry_run: bool = False) -> None:
        """Raises ValueError if ``address`` is none."""
        if not is_email_address(address):
            raise ValueError(f"{address!r} is not an email address.")
        self.counts: Counter[str] = Counter()
        self.sending: list[int] = []
        self._dry_run = dry_run
        self._seen: set[int] = set()
        self._stored_as = entries.recipient(address, "").address
        local, _at, domain = self._stored_as.rpartition("@")
        self._local = local
        forms = {address, self._stored_as, f"{local}@{unicode_host(domain)}"}
        either = "|".join(map(re.escape, forms))
        # In quotes, which a local part may begin with too, it must be closed by one.
        self._named = re.compile(
            rf"(?<!{_LOCAL})(?:{either})(?![\w-]|\.\w)"
            rf"|(?<=(?<!{_LOCAL})['`*{{|])(?:{either})(?=['`*}}|])",
            re.IGNORECASE,
        )
        self._clean = partial(self._named.sub, ERASED)

    def run(self) -> None:
        """Erase; or find out what would be erased."""
        for entry in chain(self._entries_to(), self._entries_naming()):
            self._erase(entry, is_about=False)
        for entry in self._messages_naming():
            self._erase(entry, is_about=True)
        if not self._dry_run:
            tracking_events.erase(self._stored_as, ERASED, self._clean, None)
        log_stored_message.forget()

    def configured(self) -> Iterator[str]:
        """Where the address stands in the configuration, in words."""
        for item in SettingsSet.objects.all():
            for name in ("username", "sender_name", "sender_address", "bounce_address"):
                if self._names(getattr(item, name)):
                    yield f"SMTP settings {item.name}: {name}"
            reports = ReportEmail.objects.filter(settings_set=item)
            if any(self._names(report.address) for report in reports):
                yield f"SMTP settings {item.name}: report emails"
        for version in ConfigurationVersion.objects.order_by("number"):
            if self._names(json.dumps(version.content, ensure_ascii=False)):
                yield f"Version {version.number}"

    def _names(self, text: str) -> bool:
        """Whether text, or an address in it, is or names the address."""
        if self._named.search(text):
            return True
        return any(self._is_it(address) for _name, address in getaddresses([text]))

    def _is_it(self, address: str) -> bool:
        """Whether one recipient or key, with or without a name, is the address."""
        try:
            return entries.recipient(address, "").address == self._stored_as
        except ValueError:
            return False  # a domain that can't be written

    def _entries_to(self) -> Iterator[int]:
        to_it = LogRecipient.objects.using(connections.write_alias()).filter(
            same("address", self._stored_as)
        )
        last = 0
        while True:
            found = to_it.filter(entry__gt=last).order_by("entry_id")
            keys = list(found.values_list("entry_id", flat=True)[:_BATCH])
            yield from dict.fromkeys(keys)
            if len(keys) < _BATCH:
                return
            last = keys[-1]

    def _entries_naming(self) -> Iterator[int]:
        """Those from it, and those whose subject or server words name it."""
        rows = LogEntry.objects.using(connections.write_alias()).order_by("pk")
        columns = ("sender", "subject", "reason")
        # No database but compares ASCII letters as they are needed here; the rest is done below.
        is_near = Q()
        for name in columns:
            is_near |= Q(**{f"{name}__icontains": f"{self._local}@"})
        last = 0
        while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:_BATCH]):
            near = rows.filter(is_near, pk__gt=last, pk__lte=keys[-1])
            for key, *texts in list(near.values_list("pk", *columns)):
                if any(map(self._names, texts)):
                    yield key
            last = keys[-1]

    def _messages_naming(self) -> Iterator[int]:
        """Entries of stored messages with the address in a header, Reply-To for example."""
        rows = StoredMessage.objects.using(connections.write_alias()).order_by("pk")
        last = 0
        while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:_BATCH]):
            for key in keys:
                stored = rows.filter(pk=key).first()
                if stored is None:
                    continue
                try:
                    message = log_stored_message.opened(stored.content)
                except MessageUnreadable:
                    self.counts["unreadable"] += 1
                    continue
                if self._names(_head(message)):
                    yield stored.entry_id
            last = keys[-1]

    def _erase(self, key: int, *, is_about: bool) -> None:
        """One entry. ``is_about``: its message is the person's own, whoever it went to."""
        if key in self._seen:
            return
        self._seen.add(key)
        before = self.counts.copy()

        def work() -> bool:
            # Not what a transaction had counted that the database wants again.
            self.counts = before.copy()
            return self._erase_entry(key, is_about)

        if not retry.in_transaction(work)():
            self.sending.append(key)

    def _erase_entry(self, key: int, is_about: bool) -> bool:
        """In its transaction; False: it is being sent."""
        # Locked by writing, which SQLite wants to come first.
        rows = LogEntry.objects.using(connections.write_alias()).filter(pk=key)
        if not rows.update(changed_at=F("changed_at")):
            return True
        entry = rows.get()
        is_about = is_about or self._names(entry.sender)
        others = [
            item
            for item in _of(entry, LogRecipient)
            if item.address != self._stored_as and not _is_stand_in(entry, item)
        ]
        waits = claims.rows().filter(entry=entry).exists()
        if waits and not self._out_of_the_outbox(entry, is_about or not others):
            return False
        if not claims.rows().filter(entry=entry).exists():
            count, _by_model = StoredMessage.objects.filter(entry=entry).delete()
            self.counts["messages"] += count
        self._anonymise(entry, waits, is_about or not others)
        self.counts["entries"] += 1
        if self._dry_run:
            transaction.set_rollback(True, using=connections.write_alias())
        return True

    def _out_of_the_outbox(self, entry: LogEntry, is_whole: bool) -> bool:
        """Cancel the message, or take the recipient out of it; False: it is being sent."""
        waiting = claims.rows().filter(entry=entry).exclude(state=OutboxMessage.State.SENDING)
        # Whoever has claimed it finds it in another state, and leaves it alone.
        if not waiting.update(state=OutboxMessage.State.WAITING, lease_until=None):
            return False
        rest = None if is_whole else self._without(entry)
        if rest is None:
            outcomes.cancel(entry)
            self.counts["cancelled"] += 1
            return True
        content = crypto.seal(stored_message.freeze(rest).content)
        StoredMessage.objects.filter(entry=entry).update(content=content, size=len(content))
        self.counts["rewritten"] += 1
        return True

    def _without(self, entry: LogEntry) -> FrozenMessage | None:
        """The message without the recipient; None if nobody is left, or it can't be read."""
        try:
            message = log_stored_message.load(entry)
        except MessageUnreadable:
            return None
        recipients = [each for each in message.recipients() if not self._is_it(each)]
        if not recipients:
            return None
        kept = {
            name: [address for address in getattr(message, name) if not self._is_it(address)]
            for name in ("to", "cc", "bcc", "reply_to")
        }
        for name, addresses in kept.items():
            setattr(message, name, addresses)
        message.subject = self._clean(message.subject)
        message.extra_headers = dict(self._headers_without(message.extra_headers))
        values, _content = message.wagtail_smtp_frozen
        changed = {
            **kept,
            "recipients": recipients,
            "subject": message.subject,
            "headers": message.extra_headers,
            "attributes": self._value_without(values["attributes"]),
        }
        return FrozenMessage({**values, **changed}, message.message().as_bytes())

    def _headers_without(self, headers: dict[str, str]) -> Iterator[tuple[str, str]]:
        """A message's own headers; one of addresses keeps the others', and goes with the last."""
        for name, value in headers.items():
            listed = getaddresses([value])
            rest = [pair for pair in listed if not self._is_it(pair[1])]
            is_list = all(is_email_address(address) for _name, address in listed)
            if not is_list or len(rest) == len(listed):
                yield name, self._clean(value)
            elif rest:
                yield name, self._clean(", ".join(mailbox(*pair) for pair in rest))

    def _value_without(self, value: Any) -> Any:
        """A provider's attribute without what is kept under the address, or is just that."""
        if isinstance(value, dict):
            return {
                key: self._value_without(item)
                for key, item in value.items()
                if not self._is_it(key) and not (isinstance(item, str) and self._is_it(item))
            }
        if isinstance(value, list):
            return [
                self._value_without(item)
                for item in value
                if not (isinstance(item, str) and self._is_it(item))
            ]
        return self._clean(value) if isinstance(value, str) else value

    def _anonymise(self, entry: LogEntry, waited: bool, is_whole: bool) -> None:
        mine = _of(entry, LogRecipient).filter(same("address", self._stored_as))
        # What still goes to others would count those without an address among them.
        still_waits = waited and claims.rows().filter(entry=entry).exists()
        if still_waits:
            self.counts["recipients"] += mine.delete()[0]
        else:
            self.counts["recipients"] += mine.update(address=ERASED, domain="", reply="")
        for model in (LogRecipient, LogAttempt):
            for row in _of(entry, model):
                if self._names(row.reply):
                    row.reply = self._clean(row.reply)
                    row.save(update_fields=["reply"])
        tracking_events.erase(self._stored_as, ERASED, self._clean, entry.pk)
        for name in ("sender", "subject", "reason"):
            setattr(entry, name, self._clean(getattr(entry, name)))
        if is_whole:
            entry.sender = entry.subject = entry.message_id = ""
        entry.save(update_fields=["sender", "subject", "reason", "message_id"])


def _of(entry: LogEntry, model: type[models.Model]) -> "models.QuerySet[Any]":
    """What belongs to an entry, never from a replica."""
    return model._default_manager.using(connections.write_alias()).filter(entry=entry)


def _is_stand_in(entry: LogEntry, item: LogRecipient) -> bool:
    """Whether the recipient is one that a redirect put in the place of the real ones."""
    return bool(entry.redirected_by) and item.role == LogRecipient.Role.ENVELOPE


def _head(message: FrozenMessage) -> str:
    """All that the message's fields name."""
    addresses = (*message.to, *message.cc, *message.bcc, *message.reply_to)
    fields = (message.from_email, message.subject, *addresses, *message.extra_headers.values())
    return "\n".join(map(str, fields))
