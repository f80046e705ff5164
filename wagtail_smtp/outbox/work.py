"""A worker: claims what is due, sends it in windows, writes down what became of it."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import Error, close_old_connections, transaction

from wagtail_smtp import alerts, signals
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery import store
from wagtail_smtp.delivery.announce import announce
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.pipeline import Line
from wagtail_smtp.delivery.record import Passage
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.live import database
from wagtail_smtp.models import LogRecipient, OutboxMessage, StoredMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox.settle import SETTLED, Result, settle
from wagtail_smtp.states import RecipientState, State

logger = logging.getLogger(__name__)

#: Messages claimed at a time, and of these *sending* at a time: so many become *unknown* at the
#: most when a worker dies.
CLAIM = 100
WINDOW = 10


class Worker:
    """Works the outbox off in one thread. Its sessions are those of the process.

    ``next_due`` is when the earliest of those it put back is to be tried again.
    """

    def __init__(self) -> None:
        self._line = Line()
        self._stopped = threading.Event()
        self.next_due: datetime | None = None

    def stop(self) -> None:
        """Let the window in hand be the last; from a signal handler or another thread."""
        self._stopped.set()

    def close(self) -> None:
        """Close what the project's own backend has open."""
        self._line.close()

    def work(self) -> None:
        """Work until stopped. Errors of the database are logged, and it goes on."""
        while not self._stopped.is_set():
            close_old_connections()
            done = 0
            try:
                done = self.work_off()
            except Error:
                logger.exception("The outbox can't be reached in the database.")
            if not done:
                signals.send_robustly(signals.outbox_idle, type(self))
                self._stopped.wait(conf.OUTBOX_POLL)

    def work_off(self, seconds: float | None = None) -> int:
        """Deliver all that is due, or what fits into so many seconds; how many messages."""
        deadline = None if seconds is None else time.monotonic() + seconds
        give_up_lost()
        done = 0
        while not self._stopped.is_set():
            token, rows = claims.claim(CLAIM)
            if not rows:
                break
            try:
                done += self._deliver(token, rows, deadline)
            finally:
                claims.give_back(token)
            if deadline is not None and time.monotonic() > deadline:
                break
        return done

    def _deliver(
        self, token: uuid.UUID, rows: Sequence[OutboxMessage], deadline: float | None
    ) -> int:
        done = 0
        results: list[Result] = []
        for window in _windows(rows):
            is_over = deadline is not None and time.monotonic() > deadline
            if self._stopped.is_set() or is_over:
                break
            # One transaction: the outcome of the last window, and that this one is sending.
            held = self._write(token, results, window)
            results = self._send(token, held)
            done += len(results)
        self._write(token, results, ())
        return done

    def _write(
        self, token: uuid.UUID, results: Sequence[Result], window: Sequence[OutboxMessage]
    ) -> list[OutboxMessage]:
        """Settle and begin. What has left must be written down: a dead database is waited for."""
        give_up = time.monotonic() + conf.OUTBOX_LEASE / 2
        while True:
            try:
                with transaction.atomic(using=database.write_alias()):
                    again = settle(results)
                    held = claims.begin(token, window) if window else []
                break
            except Error:
                if not results or time.monotonic() > give_up:
                    raise
                logger.exception("Outcomes can't be written down yet; trying again.")
                time.sleep(1)
                close_old_connections()
        self._tell(results, again)
        return held

    def _tell(self, results: Sequence[Result], again: Sequence[OutboxMessage]) -> None:
        for row in again:
            self.next_due = min(self.next_due or row.due_at, row.due_at)
        put_back = {row.pk for row in again}
        for result in results:
            announce(result.passage, result.row.entry)
            if result.row.pk not in put_back and result.row.entry.state == State.FAILED:
                alerts.given_up(result.row.entry_id, result.row.entry.subject)

    def _send(self, token: uuid.UUID, rows: Sequence[OutboxMessage]) -> list[Result]:
        results = []
        self._line.begin()
        renewed = time.monotonic()
        for row in rows:
            if time.monotonic() - renewed > conf.OUTBOX_LEASE / 4:
                claims.extend(token)
                renewed = time.monotonic()
            results.append(Result(row, self._pass_on(row)))
        return results

    def _pass_on(self, row: OutboxMessage) -> Passage:
        classification = Classification(row.category, row.category_source)
        try:
            message = store.opened(row.entry.stored)
        except (MessageUnreadable, StoredMessage.DoesNotExist) as error:
            return Passage.of_nothing(classification, error)
        settled: set[str] = set()
        if row.tries:
            settled = set(
                row.entry.recipients.filter(
                    role=LogRecipient.Role.ENVELOPE, state__in=SETTLED
                ).values_list("address", flat=True)
            )
        return self._line.pass_on(message, classification, settled)


def _windows(rows: Sequence[OutboxMessage]) -> Iterator[Sequence[OutboxMessage]]:
    for start in range(0, len(rows), WINDOW):
        yield rows[start : start + WINDOW]


def give_up_lost() -> int:
    """What a dead worker was sending is *unknown* from now on; how many messages."""
    lost = claims.lost()
    for row in lost:
        with transaction.atomic(using=database.write_alias()):
            entry = row.entry
            # The worker may have come back: its outcome is the better one.
            if not claims.rows().filter(pk=row.pk, token=row.token, state=row.state).delete()[0]:
                continue
            entry.state = State.UNKNOWN
            entry.reason = "The process that was sending the message ended."
            entry.save(update_fields=["state", "reason"])
            entry.recipients.filter(state=RecipientState.WAITING).update(
                state=RecipientState.UNKNOWN
            )
            if entry.category == SECURITY or not conf.stores(State.UNKNOWN):
                StoredMessage.objects.filter(entry=entry).delete()
        alerts.given_up(entry.pk, entry.subject, is_unknown=True)
    return len(lost)
