"""OpenTelemetry's spans and durations of operations, if its API is installed (``telemetry``).

Without the API, or without an SDK in this process, nothing here has an effect. The documentation
promises the names; where OpenTelemetry has no convention, they follow MailKit's. Nothing about a
person is recorded: no address, no subject.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

logger = logging.getLogger(__name__)

try:
    from opentelemetry import context, metrics, trace
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True
    _tracer = trace.get_tracer("wagtail_smtp")
    _durations = metrics.get_meter("wagtail_smtp").create_histogram(
        "wagtail_smtp.operation.duration",
        unit="s",
        description="Duration of each operation on a mail server.",
    )

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@contextmanager
def delivery(category: str) -> "Iterator[Span | None]":
    """Put one message into a span; yield it, or None if nothing records it."""
    if not IS_INSTALLED:
        yield None
        return
    span = token = None
    with _harmless():
        span = _tracer.start_span(
            "send email",
            kind=trace.SpanKind.PRODUCER,
            attributes={"wagtail_smtp.category": category},
        )
        # The spans of its operations are its children.
        token = context.attach(trace.set_span_in_context(span))
    try:
        yield span if span is not None and span.is_recording() else None
    finally:
        with _harmless():
            if token is not None:
                context.detach(token)
            if span is not None:
                span.end()


def describe(span: "Span", state: str, via: str, error: BaseException | None) -> None:
    """Record the result of a message in its span.

    Args:
        via: name of the set, or of standard delivery; empty: none was tried.
    """
    with _harmless():
        span.set_attribute("wagtail_smtp.state", state)
        if via:
            span.set_attribute("wagtail_smtp.set", via)
        if error is not None:
            # Only its type: the text may contain addresses.
            span.set_attribute("error.type", error_type(error))
            span.set_status(trace.StatusCode.ERROR)


@contextmanager
def _harmless() -> Iterator[None]:
    """Log errors of an SDK's plugins: a message that was sent must not fail because of them."""
    try:
        yield
    except Exception:
        # Not an error: it would be emailed to ADMINS, and that email would fail in the same way.
        logger.warning("OpenTelemetry can't record a message.", exc_info=True)


@contextmanager
def operation(name: str, via: str, host: str = "", port: int = 0) -> Iterator[None]:
    """Record an operation: its duration and its span. See :func:`record`."""
    began = time.monotonic()
    try:
        yield
    except BaseException as error:
        record(name, time.monotonic() - began, via, host, port, error)
        raise
    record(name, time.monotonic() - began, via, host, port)


def record(
    name: str,
    seconds: float,
    via: str,
    host: str = "",
    port: int = 0,
    error: BaseException | None = None,
) -> None:
    """Record an operation that has just ended.

    Args:
        name: such as ``connect``.
        via: name of the set.
        host: empty: it is not about a server.
    """
    if not IS_INSTALLED:
        return
    attributes: dict[str, Any] = {"network.operation": name, "wagtail_smtp.set": via}
    if host:
        attributes |= {"server.address": host, "server.port": port}
    with _harmless():
        if error is not None:
            attributes["error.type"] = error_type(error)
        _durations.record(seconds, attributes)
        if trace.get_current_span().is_recording():
            _record_span(name, seconds, attributes, has_failed=error is not None)


def _record_span(
    name: str, seconds: float, attributes: Mapping[str, Any], *, has_failed: bool
) -> None:
    ended = time.time_ns()
    span = _tracer.start_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        start_time=ended - int(seconds * 1e9),
    )
    if has_failed:
        span.set_status(trace.StatusCode.ERROR)
    span.end(ended)


def error_type(error: BaseException) -> str:
    """The reply code of a server, or the error's class."""
    code = getattr(error, "code", 0)
    # A backend's error, or a SystemExit, may have a text there.
    return str(code) if isinstance(code, int) and code else type(error).__name__
