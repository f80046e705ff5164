"""A worker: claims what is due, sends it in windows, writes down what became of it."""

import logging
import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import DataError, Error, IntegrityError, close_old_connections, transaction
from django.utils import timezone

from wagtail_smtp import alerts, signals
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery import store
from wagtail_smtp.delivery.announce import announce
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.passage import Passage
from wagtail_smtp.delivery.pipeline import Line
from wagtail_smtp.exceptions import ConfigurationUnavailable, EmailDeliveryError, MessageUnreadable
from wagtail_smtp.live import database
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage, StoredMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox.settle import SETTLED, Result, settle, settle_alone
from wagtail_smtp.states import RecipientState, State

logger = logging.getLogger(__name__)

#: Messages claimed at a time, and of these *sending* at a time: so many become *unknown* at the
#: most when a worker dies.
CLAIM = 100
WINDOW = 10


class Worker:
    """Works the outbox off in one thread. Its sessions are those of the process.

    ``again_at`` is when those it put back are to be tried again. ``is_through`` says whether
    nothing that is due was left behind.
    """

    def __init__(self) -> None:
        self._line = Line()
        # Not an Event: a signal that comes while it is waited for would wait for itself.
        self._stop: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_stopped = False
        #: Claims that could not be given back, since the database was gone.
        self._owed: set[uuid.UUID] = set()
        self.again_at: list[datetime] = []
        self.is_through = False

    def stop(self) -> None:
        """Let the window in hand be the last; from a signal handler or another thread."""
        self._is_stopped = True
        self._stop.put(None)

    def close(self) -> None:
        """Close what the project's own backend has open."""
        self._line.close()

    def work(self) -> None:
        """Work until stopped. Errors of the database are logged, and it goes on."""
        while not self._is_stopped:
            close_old_connections()
            done = 0
            try:
                done = self.work_off()
            except Error:
                logger.exception("The outbox can't be reached in the database.")
            if not done:
                signals.send_robustly(signals.outbox_idle, type(self))
                with suppress(queue.Empty):
                    self._stop.get(timeout=conf.OUTBOX_POLL)

    def work_off(self, seconds: float | None = None) -> int:
        """Deliver all that is due, or what fits into so many seconds; how many messages."""
        deadline = None if seconds is None else time.monotonic() + seconds
        done, self.is_through = 0, False
        while not self._is_stopped:
            self._give_back()
            give_up_lost()
            claims.free_abandoned()
            token = uuid.uuid4()
            self._owed.add(token)
            rows = claims.claim(CLAIM, token)[1]
            if not rows:
                self._owed.discard(token)
                self.is_through = True
                break
            try:
                done += self._deliver(token, rows, deadline)
            finally:
                self._give_back()
            if deadline is not None and time.monotonic() > deadline:
                break
        return done

    def _give_back(self) -> None:
        try:
            for token in tuple(self._owed):
                claims.give_back(token)
                self._owed.discard(token)
        except Error:
            logger.exception("Messages that were claimed can't be given back yet.")
            # What the claim's transaction left is known to be no use.
            close_old_connections()

    def _deliver(
        self, token: uuid.UUID, rows: Sequence[OutboxMessage], deadline: float | None
    ) -> int:
        done = 0
        results: list[Result] = []
        for window in _windows(rows):
            # At least one, however little time there is.
            is_over = bool(done) and deadline is not None and time.monotonic() > deadline
            if self._is_stopped or is_over:
                break
            try:
                # A window's at a time, since messages may be large; before anything is begun.
                claims.load(window)
            except Error:
                logger.exception("Messages of the outbox can't be read.")
                close_old_connections()
                break
            # One transaction: the outcome of the last window, and that this one is sending.
            held = self._write(token, results, window)
            results = []
            try:
                self._send(token, held, results)
            except BaseException:
                # A signal's exception; a task system's, whose time is over. Only the message in
                # hand may have left, or not.
                try:
                    claims.take_back(token, held[len(results) + 1 :])
                finally:
                    self._write(token, results, ())
                raise
            done += len(results)
        self._write(token, results, ())
        return done

    def _write(
        self, token: uuid.UUID, results: Sequence[Result], window: Sequence[OutboxMessage]
    ) -> list[OutboxMessage]:
        """Settle and begin. What has left must be written down: a dead database is waited for."""
        give_up = time.monotonic() + conf.OUTBOX_LEASE / 2
        due, tried = results, results
        while True:
            try:
                with transaction.atomic(using=database.write_alias()):
                    # A statement that writes comes first: SQLite waits for its turn only then.
                    held = claims.begin(token, window) if window else []
                    if not window:
                        claims.extend(token)
                    if due is not results:
                        written = claims.written([result.row for result in results])
                        due = [result for result in results if result.row.pk not in written]
                    settle(due)
                break
            except (DataError, IntegrityError):
                # The database is there, but doesn't take one of the outcomes as it is.
                logger.exception("Outcomes can't be written down together; now one by one.")
                for result in results:
                    settle_alone(result)
                results = due = ()
            except Error:
                is_idle = self._is_stopped and not results
                if is_idle or time.monotonic() > give_up:
                    raise
                logger.exception("Outcomes can't be written down yet; trying again.")
                time.sleep(1)
                close_old_connections()
                due = ()
        self._tell(tried)
        return held

    def _tell(self, results: Sequence[Result]) -> None:
        for result in results:
            row, entry = result.row, result.row.entry
            if entry.state == State.DEFERRED:
                self.again_at.append(row.due_at)
            announce(result.passage, entry)
            if entry.state == State.FAILED:
                _alert(entry)

    def _send(self, token: uuid.UUID, rows: Sequence[OutboxMessage], results: list[Result]) -> None:
        self._line.begin()
        renewed = time.monotonic()
        for row in rows:
            if time.monotonic() - renewed > conf.OUTBOX_LEASE / 4:
                try:
                    claims.extend(token)
                    renewed = time.monotonic()
                except Error:
                    # What has left is known only here, so nothing may end this now.
                    logger.exception("The lease of the outbox's messages can't be renewed.")
                    close_old_connections()
            results.append(Result(row, self._pass_on(row)))

    def _pass_on(self, row: OutboxMessage) -> Passage:
        classification = Classification(row.category, row.category_source)
        if claims.time_left(row) <= timedelta() and (row.tries or row.category == SECURITY):
            # A late reset link is of use to others alone.
            late = EmailDeliveryError("It could not be sent in time.")
            return Passage.of_nothing(classification, late)
        try:
            message = store.opened(row.entry.stored)
        except (MessageUnreadable, StoredMessage.DoesNotExist) as error:
            return Passage.of_nothing(classification, error)
        settled: set[str] = set()
        if row.tries:
            envelope = row.entry.recipients.filter(role=LogRecipient.Role.ENVELOPE)
            try:
                settled = set(envelope.filter(state__in=SETTLED).values_list("address", flat=True))
            except Error as error:
                unknown = ConfigurationUnavailable("Who has the message already can't be read.")
                unknown.__cause__ = error
                return Passage.of_nothing(classification, unknown)
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
            dead = claims.rows().filter(pk=row.pk, token=row.token, lease_until=row.lease_until)
            if not dead.filter(state=row.state).delete()[0]:
                continue
            entry.state = State.UNKNOWN
            entry.reason = "The process that was sending the message ended."
            entry.changed_at = timezone.now()
            entry.save(update_fields=["state", "reason", "changed_at"])
            entry.recipients.filter(state=RecipientState.WAITING).update(
                state=RecipientState.UNKNOWN
            )
            if entry.category == SECURITY or not conf.stores(State.UNKNOWN):
                StoredMessage.objects.filter(entry=entry).delete()
        _alert(entry)
    return len(lost)


def _alert(entry: LogEntry) -> None:
    alerts.given_up(entry.pk, entry.subject, is_unknown=entry.state == State.UNKNOWN)
