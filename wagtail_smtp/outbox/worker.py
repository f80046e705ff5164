"""The outbox's worker: it claims due messages, sends them and writes their outcomes."""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, close_old_connections

from wagtail_smtp import alerts, signals
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.announcements import announce
from wagtail_smtp.delivery.log import entries, stored_message, writer
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import Classification
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    EmailDeliveryError,
    EnvironmentMismatch,
)
from wagtail_smtp.live import current, environments
from wagtail_smtp.live.db import connections
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage
from wagtail_smtp.models.choices import State
from wagtail_smtp.outbox import claims, outcomes
from wagtail_smtp.outbox.claims import Progress
from wagtail_smtp.outbox.outcomes import FINAL_STATES, Result, write_and_claim, write_one

logger = logging.getLogger(__name__)

#: Maximum number of messages claimed together. If a worker dies, at most this many of each thread
#: become *unknown*.
WINDOW = 10
#: Seconds of sending, or bytes of messages sent, after which a worker writes outcomes.
_SECONDS_OF_WINDOW = 1
_BYTES_OF_WINDOW = 8 * 1024 * 1024


class Worker:
    """Delivers the outbox in one thread, in windows of a few messages.

    The outcomes of a window are written in the transaction that claims the next one.

    Args:
        progress: where it notes which messages it has begun to send.

    Attributes:
        again_at: due times of the messages that it postponed (aware datetimes).
        is_through: whether no due message was left.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._pipeline = DeliveryPipeline(is_worker=True)
        self._progress = progress or Progress()
        # Not an Event: a signal handler that sets one can block if the thread is waiting for it.
        self._stop: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_stopped = False
        #: The token of a claim while it isn't known to be committed.
        self._claim_token: uuid.UUID | None = None
        self._window = 1
        self._cleaned_up_at = self._renewed_at = 0.0
        self.again_at: list[datetime] = []
        self.is_through = False

    def stop(self) -> None:
        """Stop after the current message; from a signal handler or another thread."""
        self._is_stopped = True
        self._stop.put(None)

    def close(self) -> None:
        """Close the connection of the project's own backend."""
        self._pipeline.close()

    def work(self) -> None:
        """Deliver messages until stopped. Database errors are logged and don't end it."""
        while not self._is_stopped:
            close_old_connections()
            count = 0
            try:
                count = self.drain()
            except Error:
                logger.exception("The database with the outbox is not available.")
            if not count:
                signals.send_robustly(signals.outbox_idle, type(self))
                with suppress(queue.Empty):
                    self._stop.get(timeout=conf.OUTBOX_POLL)

    def drain(self, seconds: float | None = None) -> int:
        """Deliver all due messages and return their number; start none after ``seconds``."""
        deadline = None if seconds is None else time.monotonic() + seconds
        require_settings()
        self._cleaned_up_at, self.is_through = 0.0, False
        # A server that was fast before may be slow now.
        self._window = 1
        self._release_claim()
        if is_held():
            self.is_through = True
            return 0
        try:
            return self._deliver(deadline)
        finally:
            self._release_claim()

    def _deliver(self, deadline: float | None) -> int:
        count = 0
        results: list[Result] = []
        try:
            while True:
                limit = self._next_limit(deadline, is_first=not count)
                previous, results = results, []
                claimed = self._claim(previous, limit)
                previous = []
                if not claimed:
                    return count
                began = time.monotonic()
                token = claimed[0].token
                try:
                    self._send(claimed, results)
                except BaseException:
                    # Raised by a signal handler, for example a task system's time limit. Only the
                    # current message may have been sent.
                    _release(token, claimed[len(results) + 1 :])
                    raise
                count += len(results)
                _release(token, claimed[len(results) :])
                self._adapt_window(len(results), time.monotonic() - began)
        finally:
            if results:
                self._write(results[0].row.token, results, 0)

    def _next_limit(self, deadline: float | None, *, is_first: bool) -> int:
        """How many messages to claim next; 0 if the worker has to stop."""
        # Always deliver at least one window.
        is_over = not is_first and deadline is not None and time.monotonic() > deadline
        return 0 if self._is_stopped or is_over else self._window

    def _claim(self, results: Sequence[Result], limit: int) -> list[OutboxMessage]:
        """Write outcomes, claim up to ``limit`` messages and give up those of dead workers."""
        self._renewed_at = time.monotonic()
        # Set it first: the claim may succeed even if the connection is lost during it.
        self._claim_token = token = uuid.uuid4()
        self._progress.claiming(token)
        self._write(token, results, limit)
        # Not in the same transaction: on SQLite, others wait for its end.
        claimed = claims.claimed(token) if limit else []
        self._progress.claimed(len(claimed))
        if limit and time.monotonic() - self._cleaned_up_at > conf.OUTBOX_POLL:
            # After writing outcomes: a process that was suspended may have lost its own lease.
            give_up_lost()
            self._cleaned_up_at = time.monotonic()
        self._claim_token = None
        self.is_through = bool(limit) and not claimed
        return claimed

    def _release_claim(self) -> None:
        """Put the messages of a claim that isn't known to be committed back into the outbox."""
        if self._claim_token is None:
            return
        try:
            claims.release(self._claim_token)
            self._claim_token = None
        except Error:
            logger.exception("Claimed messages can't be returned to the outbox yet.")
            # The connection is unusable after the failed transaction.
            close_old_connections()

    def _adapt_window(self, count: int, seconds: float) -> None:
        """Choose the next window's size: ``count`` messages took ``seconds``.

        With a slow server it is one message: a commit costs little compared with sending, and a
        worker that dies leaves only one message *unknown*.
        """
        fitting = int(_SECONDS_OF_WINDOW * count / seconds) if seconds > 0 else WINDOW
        self._window = max(1, min(fitting, 2 * self._window, WINDOW))

    def _write(self, token: uuid.UUID, results: Sequence[Result], limit: int) -> None:
        """Write outcomes and claim up to ``limit`` messages.

        Outcomes must be written, so this waits for the database, up to half of the lease.
        """
        give_up_at = time.monotonic() + conf.OUTBOX_LEASE / 2
        is_together = True
        while True:
            try:
                if is_together:
                    write_and_claim(token, results, limit)
                else:
                    for result in results:
                        write_one(result)
                    write_and_claim(token, (), limit)
                break
            except Error as error:
                is_refused = is_together and writer.is_of_value(error)
                is_together = False
                if is_refused:
                    logger.exception("Outcomes can't be written together; trying one by one.")
                    continue
                is_idle = self._is_stopped and not results
                if is_idle or time.monotonic() > give_up_at:
                    raise
                logger.exception("Outcomes can't be written yet; trying again.")
                time.sleep(1)
                close_old_connections()
        self._announce(results)

    def _announce(self, results: Sequence[Result]) -> None:
        """Send signals and alerts."""
        for result in results:
            row, entry = result.row, result.row.entry
            if entry.state == State.DEFERRED:
                self.again_at.append(row.due_at)
                is_alerting = not isinstance(result.delivery.failure, EnvironmentMismatch)
                is_of_process = outcomes.is_of_process(result.delivery)
                if is_alerting and is_of_process and not result.delivery.attempts:
                    # Failed attempts have separate alerts.
                    alerts.messages_waiting(entry.reason)
            announce(result.delivery, entry)
            if entry.state == State.FAILED:
                _alert(entry)

    def _send(self, claimed: Sequence[OutboxMessage], results: list[Result]) -> None:
        """Send messages and append their results, until stopped or a second is over.

        At least one message is sent. Results hold their messages, so they are also written once
        these have many bytes.
        """
        self._pipeline.begin()
        began = time.monotonic()
        held = 0
        for index, row in enumerate(claimed):
            is_over = held > _BYTES_OF_WINDOW or time.monotonic() - began > _SECONDS_OF_WINDOW
            if results and (self._is_stopped or is_over):
                return
            held += row.entry.size
            if time.monotonic() - self._renewed_at > conf.OUTBOX_LEASE / 4:
                try:
                    claims.extend(row.token)
                    self._renewed_at = time.monotonic()
                except Error:
                    # Only this process knows what was sent, so it must go on.
                    logger.exception("The lease of outbox messages can't be renewed.")
                    close_old_connections()
            self._progress.sending(index)
            results.append(Result(row, self._try_deliver(row)))

    def _try_deliver(self, row: OutboxMessage) -> DeliveryResult:
        site = entries.site_of(row.entry)
        classification = Classification(row.category, row.category_source, site)
        if claims.time_left(row) <= timedelta() and (row.attempts or row.category == SECURITY):
            # The user has stopped waiting, and others could misuse a late reset link.
            late = EmailDeliveryError("It could not be sent in time.")
            return DeliveryResult.without_message(classification, late)
        try:
            message = stored_message.opened(row.content, row.entry_id)
            row.content = None
        except Exception as error:
            # No error in one message may affect the others.
            return DeliveryResult.without_message(classification, error)
        final: set[str] = set()
        if row.attempts:
            recipients = outcomes.recipients_of(row.entry).filter(
                role=LogRecipient.Role.ENVELOPE, state__in=FINAL_STATES
            )
            try:
                final.update(recipients.values_list("address", flat=True))
            except Error as error:
                unknown = ConfigurationUnavailable("The recipients' states can't be read.")
                unknown.__cause__ = error
                return DeliveryResult.without_message(classification, unknown)
        return self._pipeline.try_deliver(message, classification, final, row.entry.key)


def is_held() -> bool:
    """Whether the outbox waits because the live version comes from another environment."""
    try:
        held_from = current().held_from
    except ConfigurationUnavailable:
        return False  # each message says why it waits
    # With exempt categories, it is decided for each message.
    return environments.holds_all(held_from)


def require_settings() -> None:
    """Check the settings, and alert if messages have to wait because of them.

    Raises:
        ImproperlyConfigured: they are wrong.
    """
    try:
        conf.require_valid()
    except ImproperlyConfigured as error:
        with suppress(ImproperlyConfigured):
            alerts.messages_waiting(str(error))
        raise


def _release(token: uuid.UUID, unsent: Sequence[OutboxMessage]) -> None:
    """Put unsent messages back into the outbox; without a database, they become *unknown*."""
    if not unsent:
        return
    try:
        try:
            claims.release(token, unsent)
        except Error:
            # The connection may have been lost.
            close_old_connections()
            claims.release(token, unsent)
    except Error:
        logger.exception("Unsent messages can't be returned to the outbox.")
        close_old_connections()


def give_up_lost() -> int:
    """Mark messages whose worker died while sending as *unknown*; return their number."""
    lost = claims.lost()
    for row in lost:
        if outcomes.give_up_lost(row):
            _alert(row.entry)
    return len(lost)


def _alert(entry: LogEntry) -> None:
    alerts.given_up(entry.pk, entry.subject, is_unknown=entry.state == State.UNKNOWN)


class WorkerPool:
    """Several workers, because sending mostly waits for the network.

    The first runs in the caller's thread, each other in its own.

    Args:
        progress: one for each worker.
    """

    def __init__(self, number: int, progress: Sequence[Progress] = ()) -> None:
        self._workers = [Worker(*progress[index : index + 1]) for index in range(number)]

    def stop(self) -> None:
        """Stop after the current messages; safe in a signal handler or another thread."""
        for worker in self._workers:
            worker.stop()

    def work(self) -> None:
        """Deliver messages until stopped."""
        self._run(Worker.work)

    def drain(self) -> int:
        """Deliver all due messages and return their number."""
        return self._run(Worker.drain)

    def _run(self, task: Callable[[Worker], int | None]) -> int:
        counts: list[int] = []
        errors: list[BaseException] = []

        def run(worker: Worker) -> None:
            try:
                counts.append(task(worker) or 0)
            except BaseException as error:
                errors.append(error)
                self.stop()
            finally:
                worker.close()

        def run_in_thread(worker: Worker) -> None:
            try:
                run(worker)
            finally:
                connections.close_all()

        first, *others = self._workers
        threads = [threading.Thread(target=run_in_thread, args=(worker,)) for worker in others]
        for thread in threads:
            thread.start()
        run(first)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return sum(counts)
