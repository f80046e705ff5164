"""Metrics and traces with OpenTelemetry's own SDK, and nothing without it."""

import re
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from tests.support import telemetry_sdk
from tests.support.servers.smtp_server import free_port
from wagtail_smtp import email_category, live
from wagtail_smtp import metrics as metrics_module
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox.worker import Worker
from wagtail_smtp.runtime import tracing
from wagtail_smtp.transports import pool

_reader, _exporter = telemetry_sdk.READER, telemetry_sdk.EXPORTER


@pytest.fixture(autouse=True)
def _sdk():
    """Start the SDK. The names of the sets here are used by no other test."""
    telemetry_sdk.start()
    pool.close_all()
    _exporter.clear()


def _points(name=""):
    """The data points of a metric, or of all, by their attributes."""
    data = _reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    for point in metric.data.data_points:
                        found[frozenset(point.attributes.items())] = point
    return found


def _value(name, **attributes):
    """The sum of the points that have these attributes."""
    wanted = {(f"wagtail_smtp.{key}", value) for key, value in attributes.items()}
    return sum(point.value for key, point in _points(name).items() if wanted <= key)


def _operations():
    return {dict(key)["network.operation"] for key in _points("wagtail_smtp.operation.duration")}


def _spans():
    return {span.name: span for span in _exporter.get_finished_spans()}


def _send(to="ada@example.org", category="invoice"):
    with email_category(category):
        return EmailMessage("Private subject", "Body", "shop@example.com", [to]).send()


def _pool(item):
    """The pool of a live set."""
    current = live.current()
    return current.transport(current.configuration.by_key()[str(item.key)]).pool


def test_a_message(smtp_server, make_set, reload):
    make_set(smtp_server, name="Office here")
    reload()
    before = _value("wagtail_smtp.messages", state="sent", category="invoice")
    with trace.get_tracer("site").start_as_current_span("request") as request:
        _send()
    assert _value("wagtail_smtp.messages", state="sent", category="invoice") == before + 1
    assert _value("wagtail_smtp.messages", set="Office here") == 1
    [attempt] = [
        point
        for key, point in _points("wagtail_smtp.attempt.duration").items()
        if ("wagtail_smtp.set", "Office here") in key
    ]
    assert attempt.count == 1
    assert attempt.sum > 0
    assert _operations() >= {"resolve", "connect", "greeting", "tls", "auth", "send"}

    spans = _spans()
    message = spans["send email"]
    assert message.parent.span_id == request.get_span_context().span_id
    assert dict(message.attributes) == {
        "wagtail_smtp.category": "invoice",
        "wagtail_smtp.set": "Office here",
        "wagtail_smtp.state": "sent",
    }
    for name in ("connect", "tls", "auth", "send"):
        assert spans[name].parent.span_id == message.context.span_id
        assert spans[name].attributes["server.port"] == smtp_server.port
    assert spans["connect"].end_time <= spans["send"].start_time + 1_000_000


def test_nothing_about_a_person_is_recorded(smtp_server, make_set, reload):
    # Not a name that may be part of a hexadecimal number.
    smtp_server.refuse["zoe@example.org"] = "550 5.1.1 zoe@example.org is unknown"
    make_set(smtp_server)
    reload()
    with pytest.raises(OSError):
        _send("zoe@example.org")
    text = "".join(span.to_json() for span in _exporter.get_finished_spans())
    text += _reader_json()
    for private in ("zoe", "Private subject", smtp_server.password, smtp_server.username):
        assert private not in text


def _reader_json():
    data = _reader.get_metrics_data()
    return data.to_json() if data else ""


@pytest.mark.parametrize(
    ("code", "recorded"),
    [
        (421, "421"),
        (0, "ValueError"),
        ("no zoe@example.org here", "ValueError"),
        (None, "ValueError"),
    ],
)
def test_only_a_number_is_recorded_as_a_reply_code(code, recorded):
    error = ValueError("no zoe@example.org here")
    error.code = code
    assert tracing.error_type(error) == recorded


def test_a_failure(make_set, reload):
    make_set(name="Nowhere here", port=free_port(), timeout=2)
    reload()
    with pytest.raises(OSError):
        _send()
    assert _value("wagtail_smtp.messages", set="Nowhere here", state="failed", cause="refused") == 1
    spans = _spans()
    assert spans["connect"].attributes["error.type"] == "MessageDeferred"
    assert spans["send email"].attributes["error.type"] == "MessageDeferred"
    assert not spans["send email"].status.is_ok
    assert not spans["send email"].events


class _Broken(SpanProcessor):
    """A plugin of the SDK with a fault."""

    def on_start(self, span, parent_context=None):
        if "start" in self.fails:
            raise RuntimeError("broken")

    def on_end(self, span):
        if "end" in self.fails:
            raise RuntimeError("broken")


@pytest.fixture
def broken():
    processor = _Broken()
    processor.fails = ()
    trace.get_tracer_provider().add_span_processor(processor)
    yield processor
    processor.fails = ()


@pytest.mark.parametrize("fails", ["start", "end"])
def test_a_broken_sdk_does_not_fail_a_message(smtp_server, make_set, reload, broken, fails):
    make_set(smtp_server)
    reload()
    broken.fails = [fails]
    assert _send() == 1
    assert len(smtp_server.received) == 1
    assert LogEntry.objects.get().state == "sent"
    broken.fails = []
    # The context of the failed span is gone.
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_refused_login(smtp_server, make_set, reload):
    make_set(smtp_server, name="Wrong", password="wrong")
    reload()
    with pytest.raises(OSError):
        _send()
    assert _spans()["auth"].attributes["error.type"] == "535"


def test_a_failover(smtp_server, make_set, reload):
    make_set(name="First here", port=free_port(), timeout=2)
    make_set(smtp_server, name="Second here", backup=True)
    reload()
    _send()
    assert _value("wagtail_smtp.messages", set="Second here", state="sent") == 1
    assert _value("wagtail_smtp.messages", set="First here") == 0
    attempts = _points("wagtail_smtp.attempt.duration")
    [first] = [
        point for key, point in attempts.items() if ("wagtail_smtp.set", "First here") in key
    ]
    assert first.attributes["error.type"] == "MessageDeferred"


def test_sessions(smtp_server, make_set, reload):
    item = make_set(smtp_server, name="Pooled here")
    reload()
    _send()

    def sessions(state):
        return _value("wagtail_smtp.pool.sessions", set="Pooled here", state=state)

    assert (sessions("used"), sessions("idle")) == (0, 1)
    with _pool(item).lease():
        assert (sessions("used"), sessions("idle")) == (1, 0)


def test_threads_that_wait(smtp_server, make_set, reload, configure):
    configure(MAX_SESSIONS=1)
    item = make_set(smtp_server, name="Busy here")
    reload()
    sessions = _pool(item)

    def use():
        with sessions.lease():
            pass

    with sessions.lease():
        thread = threading.Thread(target=use)
        thread.start()
        while not sessions.waiting:
            pass
        assert _value("wagtail_smtp.pool.waiting", set="Busy here") == 1
    thread.join()
    assert _value("wagtail_smtp.pool.waiting", set="Busy here") == 0
    assert "wait" in _operations()


def test_a_reload(smtp_server, make_set, reload, django_capture_on_commit_callbacks):
    make_set(smtp_server)
    before = _value("wagtail_smtp.reloads")
    with django_capture_on_commit_callbacks(execute=True):
        reload()
    assert _value("wagtail_smtp.reloads") == before + 1


def test_the_outbox(smtp_server, make_set, reload, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    make_set(smtp_server)
    reload()
    _send()
    _send()
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(seconds=60))
    assert _value("wagtail_smtp.outbox.messages", state="waiting") == 2
    assert 59 < _value("wagtail_smtp.outbox.overdue") < 120
    sent = _value("wagtail_smtp.messages", state="sent")
    worker = Worker()
    assert worker.drain() == 2
    worker.close()
    assert _value("wagtail_smtp.outbox.messages", state="waiting") == 0
    assert _value("wagtail_smtp.messages", state="sent") == sent + 2
    assert LogEntry.objects.filter(state="sent").count() == 2


def test_every_metric_is_documented():
    root = Path(metrics_module.__file__).parent
    code = (root / "metrics.py").read_text() + (root / "runtime/tracing.py").read_text()
    made = re.findall(r"\.create_\w+\(\s*\"([\w.]+)\"", code)
    page = (root.parent / "docs/reference/telemetry.md").read_text()
    documented = re.findall(r"^\| `([\w.]+)` \| (?:counter|gauge|histogram)", page, re.MULTILINE)
    assert sorted(documented) == sorted(made)


WITHOUT_SDK = """
import sys
if sys.argv[1] == "without the API":
    sys.modules["opentelemetry"] = None
import django
django.setup()
from wagtail_smtp.runtime import tracing
assert tracing.IS_INSTALLED is (sys.argv[1] != "without the API")
assert ("wagtail_smtp.metrics" in sys.modules) is tracing.IS_INSTALLED
with tracing.delivery("invoice") as span:
    assert span is None or not span.is_recording()
    with tracing.operation("connect", "Office"):
        pass
"""


@pytest.mark.parametrize("case", ["without the API", "without an SDK"])
def test_without(case):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK, case],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
