"""OpenTelemetry's metrics of messages, sessions, the outbox and reloads (extra ``telemetry``).

The documentation promises the names.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from wagtail_smtp import signals
from wagtail_smtp.config.values import Attempt
from wagtail_smtp.diagnostics.status import outbox
from wagtail_smtp.diagnostics.usage import of_live_sets
from wagtail_smtp.live.db.connections import borrowed_connection, is_migrated
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.runtime import tracing
from wagtail_smtp.transports import pool

_meter = metrics.get_meter("wagtail_smtp")
_messages = _meter.create_counter(
    "wagtail_smtp.messages",
    unit="{message}",
    description="Results of deliveries. A deferred message counts at each try.",
)
_attempts = _meter.create_histogram(
    "wagtail_smtp.attempt.duration",
    unit="s",
    description="Duration of each attempt to send a message through one settings set.",
)
_reloads = _meter.create_counter(
    "wagtail_smtp.reloads", unit="{reload}", description="Versions made live by this process."
)


def connect() -> None:
    """Connect to the signals, and offer what is measured when it is collected."""
    signals.message_sent.connect(_count, dispatch_uid="wagtail_smtp.metrics")
    signals.message_failed.connect(_count, dispatch_uid="wagtail_smtp.metrics")
    signals.configuration_reloaded.connect(_count_reload, dispatch_uid="wagtail_smtp.metrics")
    _meter.create_observable_gauge(
        "wagtail_smtp.pool.sessions",
        [_sessions],
        unit="{session}",
        description="Open sessions of this process, in use or idle.",
    )
    _meter.create_observable_gauge(
        "wagtail_smtp.pool.waiting",
        [_waiting],
        unit="{thread}",
        description="Threads of this process that wait for a session.",
    )
    _meter.create_observable_gauge(
        "wagtail_smtp.outbox.messages",
        [_outbox],
        unit="{message}",
        description="Messages in the outbox of the site, by state.",
    )
    _meter.create_observable_gauge(
        "wagtail_smtp.outbox.overdue",
        [_overdue],
        unit="s",
        description="How long the oldest message in the outbox of the site is overdue.",
    )
    _meter.create_observable_gauge(
        "wagtail_smtp.limit.used",
        [_limits],
        unit="{recipient}",
        description="Recipients that count towards the sending limits of live sets.",
    )


def _count(
    category: str, attempts: Iterable[Attempt], entry: LogEntry | None = None, **kwargs: Any
) -> None:
    attributes = {"wagtail_smtp.category": category}
    for attempt in attempts:
        attributes["wagtail_smtp.set"] = attempt.via
        error = {"error.type": tracing.error_type(attempt.error)} if attempt.error else {}
        _attempts.record(attempt.seconds, attributes | error)
    if entry is not None:
        attributes["wagtail_smtp.state"] = entry.state
        if entry.cause:
            attributes["wagtail_smtp.cause"] = entry.cause
    else:
        # The log is not available.
        attributes["wagtail_smtp.state"] = State.FAILED if "error" in kwargs else State.SENT
    _messages.add(1, attributes)


def _count_reload(**kwargs: Any) -> None:
    _reloads.add(1)


def _sessions(options: CallbackOptions) -> Iterator[Observation]:
    for name, used in pool.usage().items():
        yield Observation(used.used, {"wagtail_smtp.set": name, "wagtail_smtp.state": "used"})
        yield Observation(used.idle, {"wagtail_smtp.set": name, "wagtail_smtp.state": "idle"})


def _waiting(options: CallbackOptions) -> Iterator[Observation]:
    for name, used in pool.usage().items():
        yield Observation(used.waiting, {"wagtail_smtp.set": name})


def _outbox(options: CallbackOptions) -> Iterator[Observation]:
    counts, _seconds = _read_outbox()
    for state in ("waiting", "sending", "held"):
        yield Observation(counts.get(state, 0), {"wagtail_smtp.state": state})


def _overdue(options: CallbackOptions) -> Iterator[Observation]:
    _counts, seconds = _read_outbox()
    yield Observation(seconds)


def _limits(options: CallbackOptions) -> Iterator[Observation]:
    with borrowed_connection():
        found = of_live_sets() if is_migrated() else ()
    for each in found:
        for used in each.limits:
            attributes = {"wagtail_smtp.set": each.name, "wagtail_smtp.period": used.period}
            yield Observation(used.used, attributes)


def _read_outbox() -> tuple[dict[str, int], float]:
    # In a thread of the SDK, which logs an error and goes on.
    with borrowed_connection():
        return outbox() if is_migrated() else ({}, 0.0)
