"""Deliver alerts in a thread of the process, so that no message waits for it.

The thread writes the alert's row, which decides which of all processes delivers it, and tells one
channel after the other. It takes over alerts of processes that died, and ends when nothing waits.
If the database is not available, the process delivers its alerts without a row, so each process
may send one.
"""

import logging
import queue
import threading
import time
from dataclasses import dataclass, field

from django.db import Error

from wagtail_smtp import signals
from wagtail_smtp.alerts import Report, raising
from wagtail_smtp.channels import rows
from wagtail_smtp.channels.channel import Channel, channels, wants
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, environments
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import Alert, Told
from wagtail_smtp.runtime import error_logging, process, project

logger = logging.getLogger(__name__)

#: How many alerts may wait. Each cause raises only one in its interval.
_MAX_WAITING = 200
#: Seconds between two attempts to write a row.
_PAUSES = (0.2, 1.0, 3.0)
#: Seconds that the end of the process waits for the thread.
_AT_EXIT = 5
#: Whether tests send alerts to the channels too. A project's tests only send email.
in_tests_to_channels = False


@dataclass(slots=True, eq=False)
class Ticket:
    """An alert that this process delivers, or that another one has delivered.

    Attributes:
        alert: its row; None if there is none.
        is_done: set when this process has finished.
    """

    report: Report
    alert: Alert | None = None
    is_done: threading.Event = field(default_factory=threading.Event)


class _Courier:
    """The thread, and the alerts that wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: None: look for alerts of processes that died.
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, ticket: Ticket | None) -> None:
        """Deliver an alert. If no thread can be started, the next alert's thread does it."""
        with self._lock:
            if self._inbox.qsize() >= _MAX_WAITING:
                logger.warning("Too many alerts are waiting, so one is lost.")
                return
            self._inbox.put(ticket)
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="wagtail_smtp alerts", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there are too many threads, or the process ends
                logger.warning("An alert can't be sent yet: no thread could be started.")
            else:
                self._thread = thread

    def finish(self) -> None:
        """Give the thread a few seconds; another process takes over what is left."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(_AT_EXIT)

    def _run(self) -> None:
        try:
            while self._is_needed():
                _try(self._inbox.get())
                if self._inbox.empty():
                    _try(None)
        finally:
            db_connections.close_all()

    def _is_needed(self) -> bool:
        """Whether the thread continues; otherwise the next alert starts another one."""
        with self._lock:
            if not self._inbox.empty():
                return True
            self._thread = None
            return False


_courier = _Courier()
process.at_exit(lambda: _courier.finish())
process.after_in_child(lambda: _courier.__init__())  # type: ignore[misc]


def connect() -> None:
    """Deliver the alerts that this process raises."""
    raising.send_to(submit)


def submit(report: Report) -> Ticket:
    """Deliver an alert later; immediately if tests are running, where threads would disturb."""
    ticket = Ticket(report)
    if not wants(report.kind):
        ticket.is_done.set()
    else:
        _pass_on(ticket)
    return ticket


def finish() -> None:
    """Wait a few seconds for the thread, before a fork: it may hold locks."""
    _courier.finish()


def take_over() -> None:
    """Deliver the alerts of processes that died, and delete old ones; for a periodic task."""
    rows.delete_old()
    if rows.is_any_unclaimed():
        _pass_on(None)


def _pass_on(ticket: Ticket | None) -> None:
    if db_connections.is_under_test():
        _try(ticket)
    else:
        _courier.put(ticket)


def _try(ticket: Ticket | None) -> None:
    """Deliver an alert, or those of processes that died. Never raises."""
    try:
        with project.in_site_language():
            if ticket is not None:
                _handle(ticket)
            else:
                _deliver_unclaimed()
    except Exception:
        error_logging.failure(logger, "Alerts could not be sent")
    finally:
        if ticket is not None:
            ticket.is_done.set()


def _handle(ticket: Ticket) -> None:
    report = ticket.report
    try:
        found = _add(report)
    except (Error, OSError, RuntimeError):
        logger.warning("An alert can't be stored; it is sent without.", exc_info=True)
        if report.ends:
            return  # no one knows whether it has begun
        found = Alert(
            kind=report.kind, subject=report.subject, text=report.text,
            not_through=list(report.not_through),
        )  # fmt: skip
    if isinstance(found, Alert):
        ticket.alert = found
        _deliver(found)
        signals.send_robustly(
            signals.alert_raised, Alert,
            kind=str(report.kind), subject=report.subject, text=report.text,
        )  # fmt: skip
    elif found is not None:
        raising.shorten(report.cause, found)


def _add(report: Report) -> Alert | float | None:
    """Write the row, and try again if the database is busy."""
    for pause in _PAUSES if not db_connections.is_under_test() else ():
        try:
            return rows.add(report)
        except (Error, OSError, RuntimeError):
            logger.debug("An alert can't be stored yet.", exc_info=True)
            time.sleep(pause)
    return rows.add(report)


def _deliver_unclaimed() -> None:
    while (alert := rows.claim()) is not None:
        _deliver(alert)


def _deliver(alert: Alert) -> None:
    """Tell every channel that hasn't been told, until another process has the alert."""
    is_held = _is_held()
    # Email last: a mail server may take minutes.
    for channel in sorted(channels(), key=lambda each: each.is_email):
        if channel.name in alert.outcomes or not channel.gets(alert.kind):
            continue
        if not channel.is_email and db_connections.is_under_test() and not in_tests_to_channels:
            continue
        if not _tell(alert, channel, is_held):
            return
    rows.finish(alert)


def _tell(alert: Alert, channel: Channel, is_held: bool) -> bool:
    """Tell one channel; False if this process has lost the alert."""
    # Email decides for itself, so that the delivery log shows why it was not sent.
    if is_held and not channel.is_email:
        return rows.note(alert, channel.name, Told.HELD)
    # Recorded first: if this process dies, no other one tells this channel again.
    if not rows.note(alert, channel.name, Told.TRYING):
        return False
    told, detail = channel.deliver(alert)
    return rows.note(alert, channel.name, told, detail)


def _is_held() -> bool:
    """Whether nothing is sent, because the live version comes from another environment."""
    try:
        return environments.is_holding(current().held_from)
    except ConfigurationUnavailable:
        return False
