"""What metrics and traces cost: the same messages with OpenTelemetry's SDK, and without one."""

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks import plugin
from benchmarks.measure import Action, Contender, interleaved
from benchmarks.messages import small
from benchmarks.plugin import database_name
from benchmarks.report import Goal, Table, rows
from benchmarks.services import Around

ROUNDS = 1000
WITHOUT, WITH = "without an SDK", "metrics and traces recorded"
#: Maximum share of a message.
SHARE = 0.03


def measure(around: Around) -> Iterator[Table]:
    """Two tables: at a round trip of 20 ms with STARTTLS, and plain text on loopback."""
    for place, encryption, ports in (
        ("20 ms round trip, STARTTLS", "starttls", around.delayed),
        ("loopback, plain text", "none", around.loopback),
    ):
        plugin.use(around, [ports[encryption]], encryption)
        send = plugin.Ours(small)
        contenders = [Contender(WITHOUT, send), Contender(WITH, _recorded(send))]
        samples = interleaved(contenders, ROUNDS if ports is around.loopback else ROUNDS // 5)
        table = Table(
            f"Telemetry, {place}, {database_name()}",
            "ms",
            rows(samples.values()),
            base=WITHOUT,
            note="2 KB, with the log",
        )
        more = samples[WITH].median / samples[WITHOUT].median
        yield table.with_goals(Goal("with an SDK", more, 1 + SHARE, unit="×"))


def _recorded(send: Action) -> Action:
    """The same with an SDK, whose instruments are in place only while it sends."""
    from wagtail_smtp import metrics
    from wagtail_smtp.runtime import tracing

    meter = MeterProvider([InMemoryMetricReader()]).get_meter("wagtail_smtp")
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    tracer = traces.get_tracer("wagtail_smtp")
    replaced = {
        (tracing, "_tracer"): tracer,
        (tracing, "_durations"): meter.create_histogram("operations"),
        (metrics, "_messages"): meter.create_counter("messages"),
        (metrics, "_attempts"): meter.create_histogram("attempts"),
    }

    def recorded() -> None:
        before = {place: getattr(*place) for place in replaced}
        _put(replaced)
        send()
        _put(before)

    return recorded


def _put(instruments: Mapping[tuple[Any, str], object]) -> None:
    for (module, name), instrument in instruments.items():
        setattr(module, name, instrument)
