"""Read the bounces in the mailboxes of the live settings sets.

A mailbox isn't changed. What has been read is remembered by the number of the last message, in the
statement that also counts the messages. Each event is stored once. So a message may be read again
after an error, or by another process at the same time, without being recorded or counted twice.
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes

from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from wagtail_smtp import live
from wagtail_smtp.bounces import messages, record
from wagtail_smtp.bounces.messages import ADDRESS_HEADERS, MAX_SIZE
from wagtail_smtp.bounces.record import MAX_AGE, Outcome
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery.log import entries
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live.resolve import mailbox_config
from wagtail_smtp.models import BounceSource
from wagtail_smtp.transports.imap import Mailbox

#: Seconds in which a mailbox is read; what is left is read the next time.
_SECONDS = 120
#: How often a message that the server can't return is tried.
_TRIES = 3
#: Characters of an error that are kept.
_FAILURE = 510


def with_mailbox() -> list[SettingsSetConfig]:
    """The live sets whose mailboxes are read here; none if the live version comes from elsewhere.

    Raises:
        ConfigurationUnavailable: the live version can't be read.
    """
    current = live.current()
    # Even if a redirect makes it safe to send: the bounces belong to the other environment.
    if current.held_from or current.configuration.method == "standard":
        return []
    return [item for item in current.configuration.sets if item.mailbox_host and not item.uses_esp]


def read(item: SettingsSetConfig, seconds: float = _SECONDS) -> bool:
    """Record the new bounces in the mailbox of a live set.

    Returns:
        Whether there is more to read.

    Raises:
        EmailDeliveryError: the mailbox can't be read, which is noted.
        django.db.Error: nothing is lost.
    """
    source = BounceSource.of(uuid.UUID(item.key))
    rows = BounceSource.objects.filter(pk=source.pk)
    try:
        server = mailbox_config(item, live.current().transport(item).config)
        with Mailbox(server, item.mailbox_folder, seconds) as mailbox:
            is_more = _Reader(item, source, mailbox).read()
    except EmailDeliveryError as error:
        rows.update(
            failing_since=Coalesce(F("failing_since"), timezone.now()),
            failure=entries.clip(error, _FAILURE),
        )
        raise
    rows.update(read_at=timezone.now(), failing_since=None, failure="")
    return is_more


class _Reader:
    """Reads one mailbox once."""

    def __init__(self, item: SettingsSetConfig, source: BounceSource, mailbox: Mailbox) -> None:
        self._source = source
        self._mailbox = mailbox
        identity = [item.mailbox_host, item.username, item.mailbox_folder, mailbox.validity]
        self._identity = hashlib.sha256(repr(identity).encode()).hexdigest()
        if source.mailbox != self._identity:
            self._move_to(0)

    def read(self) -> bool:
        """Read until nothing is left; return whether time ran out before that."""
        since = (timezone.now() - MAX_AGE - timedelta(days=1)).date()
        for last, numbers in self._mailbox.after(self._source.last_number, since):
            if not self._move_to(last, self._step(numbers)):
                return False  # another process is reading it
            if self._mailbox.left < 1:
                return True
        return False

    def _step(self, numbers: list[int]) -> Counter[str]:
        """Record the bounces among messages; return how many there were, by outcome."""
        counted: Counter[str] = Counter()
        found = self._mailbox.headers(numbers, (*ADDRESS_HEADERS, "Content-Type"))
        for number in numbers:
            headers = message_from_bytes(found.get(number, b""))
            kind = str(headers.get("Content-Type", "")).lower()
            if record.entry_key(headers) is not None or messages.is_feedback(headers):
                counted[self._record(number, counted)] += 1
            elif "delivery-status" in kind:
                counted[Outcome.UNVERIFIED] += 1
        return counted

    def _record(self, number: int, counted: Counter[str]) -> Outcome:
        try:
            content = self._mailbox.content(number, MAX_SIZE)
        except EmailDeliveryError:
            is_next = self._source.last_number == number - 1
            if is_next and self._source.tries >= _TRIES:
                # The server can't return it. Later messages must not wait for it.
                self._move_to(number, Counter({Outcome.UNREADABLE: 1}))
            elif is_next:
                BounceSource.objects.filter(pk=self._source.pk).update(tries=F("tries") + 1)
            else:
                self._move_to(number - 1, counted)
            raise
        return record.process(content) if content else Outcome.UNREADABLE

    def _move_to(self, number: int, counted: Counter[str] | None = None) -> bool:
        """Note that everything up to a number has been read, unless another process has done so."""
        source = self._source
        mine = BounceSource.objects.filter(
            pk=source.pk, mailbox=source.mailbox, last_number=source.last_number
        )
        values = BounceSource.counted(counted or {})
        moved = mine.update(mailbox=self._identity, last_number=number, tries=0, **values)
        source.mailbox, source.last_number, source.tries = self._identity, number, 0
        return bool(moved)


def read_all() -> Iterator[tuple[SettingsSetConfig, EmailDeliveryError | None]]:
    """Read all mailboxes to their ends; yield each set, and why its mailbox can't be read."""
    for item in with_mailbox():
        try:
            while read(item):
                pass
        except EmailDeliveryError as error:
            yield item, error
        else:
            yield item, None
