"""A worker: claims what is due, sends it in windows, writes down what became of it."""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, close_old_connections, transaction
from django.utils import timezone

from wagtail_smtp import alerts, signals
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.log import stored_message, writer
from wagtail_smtp.delivery.notices import announce
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import ConfigurationUnavailable, EmailDeliveryError
from wagtail_smtp.live.db import bulk_sql, connections, retry
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage, StoredMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox.claims import WINDOW, ClaimBuffer, Window
from wagtail_smtp.outbox.outcomes import (
    SETTLED,
    Result,
    is_of_process,
    is_plain,
    recipients_of,
    settle,
    settle_alone,
)

logger = logging.getLogger(__name__)

#: Seconds of sending after which outcomes are written down.
_AT_A_TIME = 1


class Worker:
    """Works the outbox off in one thread. Its sessions are those of the process.

    ``again_at`` is when those it put back are to be tried again. ``is_through`` says whether
    nothing that is due was left behind.

    Args:
        buffer: shared with other workers of the process.
    """

    def __init__(self, buffer: ClaimBuffer | None = None) -> None:
        self._line = DeliveryPipeline()
        self._buffer = buffer or ClaimBuffer()
        # Not an Event: a signal that comes while it is waited for would wait for itself.
        self._stop: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_stopped = False
        self._looked_at = 0.0
        self._size = 1
        self._renewed = 0.0
        self.again_at: list[datetime] = []
        self.is_through = False

    def stop(self) -> None:
        """Let the message in hand be the last; from a signal handler or another thread."""
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
                done = self.drain()
            except Error:
                logger.exception("The outbox can't be reached in the database.")
            if not done:
                signals.send_robustly(signals.outbox_idle, type(self))
                with suppress(queue.Empty):
                    self._stop.get(timeout=conf.OUTBOX_POLL)

    def drain(self, seconds: float | None = None) -> int:
        """Deliver all that is due, or what fits into so many seconds; how many messages."""
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            conf.require_valid()
        except ImproperlyConfigured as error:
            # Before anything is claimed, let alone sent.
            with suppress(ImproperlyConfigured):
                alerts.messages_waiting(str(error))
            raise
        self._looked_at, self.is_through = 0.0, False
        # A server that was fast before may be slow now.
        self._size, self._renewed = 1, time.monotonic()
        self._buffer.return_claims()
        try:
            return self._deliver(deadline)
        finally:
            if not self.is_through:
                self._buffer.give_back()

    def _deliver(self, deadline: float | None) -> int:
        done = 0
        results: list[Result] = []
        window = None
        try:
            while window := self._next(bool(done), deadline):
                try:
                    # A window's at a time, since messages may be large; before it is begun.
                    contents = claims.load(window.rows)
                except Error:
                    logger.exception("Messages of the outbox can't be read.")
                    close_old_connections()
                    break
                # One transaction: the outcome of the last window, and that this one is sending.
                due, results = results, []
                held = self._write(window.token, due, window.rows)
                self._buffer.begun(window)
                if len(held) < len(window.rows):
                    # Cancelled, or the lease ran out: those are free again after a look.
                    self._looked_at = 0.0
                begun = time.monotonic()
                try:
                    self._send(window.token, held, contents, results)
                except BaseException:
                    # A signal's exception; a task system's, whose time is over. Only the message
                    # in hand may have left, or not.
                    _take_back(window.token, held[len(results) + 1 :])
                    raise
                done += len(results)
                _take_back(window.token, held[len(results) :])
                self._adapt(len(results), time.monotonic() - begun)
        finally:
            if results:
                self._write(results[0].row.token, results, ())
        return done

    def _next(self, has_worked: bool, deadline: float | None) -> Window | None:
        # At least one window, however little time there is.
        is_over = has_worked and deadline is not None and time.monotonic() > deadline
        if self._is_stopped or is_over:
            return None
        if time.monotonic() - self._looked_at > conf.OUTBOX_POLL:
            give_up_lost()
            claims.free_abandoned()
            self._looked_at = time.monotonic()
        window = self._buffer.next(self._size)
        self.is_through = window is None
        return window

    def _adapt(self, number: int, seconds: float) -> None:
        """Choose how many messages to mark as *sending* next: ``number`` took ``seconds``.

        With a slow server it is one at a time: the commit costs little beside the sending, and a
        worker that dies there leaves no more than that one *unknown*.
        """
        fitting = int(_AT_A_TIME * number / seconds) if seconds > 0 else WINDOW
        self._size = max(1, min(fitting, 2 * self._size, WINDOW))

    def _write(
        self, token: uuid.UUID, results: Sequence[Result], rows: Sequence[OutboxMessage]
    ) -> list[OutboxMessage]:
        """Settle and begin. What has left must be written down: a dead database is waited for."""
        give_up = time.monotonic() + conf.OUTBOX_LEASE / 2
        due, is_first, is_alone = list(results), True, False
        while True:
            try:
                while is_alone and due:
                    # Written down already, its answer may have got lost with the connection.
                    if is_first or not claims.written([due[0].row]):
                        settle_alone(due[0])
                    due = due[1:]
                held = _written(token, due, rows, is_first=is_first)
                break
            except Error as error:
                if writer.is_of_value(error) and not is_alone:
                    # The database is there, but doesn't take one of the outcomes as it is.
                    logger.exception("Outcomes can't be written down together; now one by one.")
                    is_alone = True
                    continue
                is_idle = self._is_stopped and not results
                if is_idle or time.monotonic() > give_up:
                    raise
                logger.exception("Outcomes can't be written down yet; trying again.")
                time.sleep(1)
                close_old_connections()
                is_first = False
        self._tell(results)
        return held

    def _tell(self, results: Sequence[Result]) -> None:
        for result in results:
            row, entry = result.row, result.row.entry
            if entry.state == State.DEFERRED:
                self.again_at.append(row.due_at)
                if is_of_process(result.delivery) and not result.delivery.attempts:
                    # Of what an attempt met, ADMINS hear anyway.
                    alerts.messages_waiting(entry.reason)
            announce(result.delivery, entry)
            if entry.state == State.FAILED:
                _alert(entry)

    def _send(
        self,
        token: uuid.UUID,
        rows: Sequence[OutboxMessage],
        contents: Mapping[int, bytes],
        results: list[Result],
    ) -> None:
        """Send until all are sent, the worker is stopped or it takes too long; one at least."""
        self._line.begin()
        begun = time.monotonic()
        for row in rows:
            if results and (self._is_stopped or time.monotonic() - begun > _AT_A_TIME):
                return
            # Of what is claimed too, which waits while a slow server has this.
            if time.monotonic() - self._renewed > conf.OUTBOX_LEASE / 4:
                try:
                    claims.extend(token)
                    self._renewed = time.monotonic()
                except Error:
                    # What has left is known only here, so nothing may end this now.
                    logger.exception("The lease of the outbox's messages can't be renewed.")
                    close_old_connections()
            results.append(Result(row, self._try_deliver(row, contents.get(row.entry_id))))

    def _try_deliver(self, row: OutboxMessage, content: bytes | None) -> DeliveryResult:
        classification = Classification(row.category, row.category_source)
        if claims.time_left(row) <= timedelta() and (row.tries or row.category == SECURITY):
            # A late reset link is of use to others alone.
            late = EmailDeliveryError("It could not be sent in time.")
            return DeliveryResult.of_nothing(classification, late)
        try:
            message = stored_message.opened(content)
        except Exception as error:
            # Whatever it is, the other messages have nothing to do with it.
            return DeliveryResult.of_nothing(classification, error)
        settled: set[str] = set()
        if row.tries:
            try:
                settled = set(
                    recipients_of(row.entry)
                    .filter(role=LogRecipient.Role.ENVELOPE, state__in=SETTLED)
                    .values_list("address", flat=True)
                )
            except Error as error:
                unknown = ConfigurationUnavailable("Who has the message already can't be read.")
                unknown.__cause__ = error
                return DeliveryResult.of_nothing(classification, unknown)
        return self._line.try_deliver(message, classification, settled, row.entry.key)


@retry.patiently
def _written(
    token: uuid.UUID, results: Sequence[Result], rows: Sequence[OutboxMessage], *, is_first: bool
) -> list[OutboxMessage]:
    """Write the results down and begin ``rows``, together or not at all; those that are held.

    Args:
        is_first: the results are certainly not written down.
    """
    if is_first and all(map(is_plain, results)):
        return claims.begin(token, rows, settle(results))
    with transaction.atomic(using=connections.write_alias()):
        # A statement that writes comes first: SQLite waits for its turn only then.
        if rows:
            held = claims.begin(token, rows)
        else:
            held = []
            claims.extend(token)
        if not is_first:
            written = claims.written([result.row for result in results])
            results = [result for result in results if result.row.pk not in written]
        bulk_sql.run(*settle(results))
    return held


def _take_back(token: uuid.UUID, rows: Sequence[OutboxMessage]) -> None:
    """Let others have what has not left; what the database doesn't take becomes *unknown*."""
    if not rows:
        return
    try:
        claims.take_back(token, rows)
    except Error:
        logger.exception("Messages that were not sent can't be put back into the outbox.")
        close_old_connections()


def give_up_lost() -> int:
    """What a dead worker was sending is *unknown* from now on; how many messages."""
    lost = claims.lost()
    for row in lost:
        if _give_up(row):
            _alert(row.entry)
    return len(lost)


@retry.patiently
@retry.in_transaction
def _give_up(row: OutboxMessage) -> bool:
    # The worker may have come back: its outcome is the better one. So is that of who has it now.
    if not claims.is_still_lost(row):
        return False
    claims.rows().filter(pk=row.pk).delete()
    entry = row.entry
    entry.state = State.UNKNOWN
    entry.reason = "The process that was sending the message ended."
    entry.changed_at = timezone.now()
    entry.save(update_fields=["state", "reason", "changed_at"])
    waiting = recipients_of(entry).filter(state=RecipientState.WAITING)
    waiting.update(state=RecipientState.UNKNOWN)
    if entry.category == SECURITY or not conf.stores(State.UNKNOWN):
        StoredMessage.objects.filter(entry=entry).delete()
    return True


def _alert(entry: LogEntry) -> None:
    alerts.given_up(entry.pk, entry.subject, is_unknown=entry.state == State.UNKNOWN)


class WorkerPool:
    """``number`` workers: the first in the caller's thread, each other in its own."""

    def __init__(self, number: int) -> None:
        buffer = ClaimBuffer()
        self._workers = [Worker(buffer) for _ in range(number)]

    def stop(self) -> None:
        """Stop after the current messages; safe in a signal handler or another thread."""
        for worker in self._workers:
            worker.stop()

    def work(self) -> None:
        """Work until stopped."""
        self._together(_work)

    def drain(self) -> int:
        """Deliver all due messages and return their number."""
        return self._together(Worker.drain)

    def _together(self, task: Callable[[Worker], int]) -> int:
        done: list[int] = []
        failures: list[BaseException] = []

        def run(worker: Worker) -> None:
            try:
                done.append(task(worker))
            except BaseException as error:
                failures.append(error)
                self.stop()
            finally:
                worker.close()

        def run_apart(worker: Worker) -> None:
            try:
                run(worker)
            finally:
                connections.close_all()

        first, *others = self._workers
        threads = [threading.Thread(target=run_apart, args=(worker,)) for worker in others]
        for thread in threads:
            thread.start()
        run(first)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return sum(done)


def _work(worker: Worker) -> int:
    worker.work()
    return 0
