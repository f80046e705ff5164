"""Raise an alert: decide in memory whether it is new, and pass it on to be delivered."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wagtail_smtp.alerts.kinds import OPTIONAL, AlertKind
from wagtail_smtp.conf import conf
from wagtail_smtp.runtime import error_logging, process

logger = logging.getLogger(__name__)

#: How many causes a process remembers.
_MAX_CAUSES = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """An alert that was raised.

    Attributes:
        cause: one alert is sent per cause and interval.
        subject, text: in the site's language. The text consists of paragraphs.
        interval: seconds until there may be another alert with this cause; 0: at any time.
        not_through: keys of settings sets that must not send it by email.
        opens: names a condition that lasts until an alert ``ends`` it. An alert that ends a
            condition is only sent if the condition was open.
        repetitions: how often this process has raised it again since the previous alert.
    """

    kind: AlertKind
    cause: str
    subject: str
    text: str = ""
    interval: float = 0
    not_through: tuple[str, ...] = ()
    opens: str = ""
    ends: str = ""
    repetitions: int = 0


class _Recent:
    """The causes that this process has raised lately, and how often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, int]] = {}

    def begin(self, cause: str, seconds: float) -> int | None:
        """Begin an interval; None if one has begun before, which counts a repetition.

        Returns:
            The number of repetitions in the previous interval.
        """
        now = time.monotonic()
        with self._lock:
            until, count = self._until.pop(cause, (0.0, 0))
            if now < until:
                self._until[cause] = until, count + 1
                return None
            if len(self._until) >= _MAX_CAUSES:
                del self._until[next(iter(self._until))]
            self._until[cause] = now + seconds, 0
            return count

    def shorten(self, cause: str, seconds: float) -> None:
        """End the interval in ``seconds``, because another process began it earlier."""
        with self._lock:
            if cause in self._until:
                until, count = self._until[cause]
                self._until[cause] = min(until, time.monotonic() + seconds), count


_recent = _Recent()
_deliver: Callable[[Report], object] | None = None


def send_to(deliver: Callable[[Report], object]) -> None:
    """Pass alerts on to ``deliver``, which must return quickly."""
    global _deliver
    _deliver = deliver


def forget() -> None:
    """Forget all causes, after a fork and in tests."""
    _recent.__init__()  # type: ignore[misc]


process.after_in_child(forget)


def shorten(cause: str, seconds: float) -> None:
    """Allow another alert with this cause in ``seconds``, if that is earlier than now planned."""
    _recent.shorten(cause, seconds)


def _storable(text: str) -> str:
    """Remove what databases and emails can't contain; a server may have sent it."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def report(
    kind: AlertKind,
    cause: str,
    subject: str,
    *paragraphs: str,
    interval: float | None = None,
    not_through: Sequence[str] | None = None,
    opens: str = "",
    ends: str = "",
) -> None:
    """Raise an alert. It is delivered later, by a thread. Never raises an error.

    All processes of the site together send one alert per cause and interval. Call this in the
    site's language (:func:`wagtail_smtp.runtime.project.in_site_language`).

    Args:
        cause: what is grouped, for example a set's key and the step that failed. Texts that
            change with each message don't belong in it.
        paragraphs: the text. It must not contain secrets.
        interval: seconds; default: ``conf.ALERT_INTERVAL``. 0: always a new alert.
        not_through: keys of settings sets that don't work, so the email avoids them.
        opens, ends: see :class:`Report`.
    """
    try:
        if kind in OPTIONAL and kind in conf.ALERTS_OFF:
            return
        seconds = conf.ALERT_INTERVAL if interval is None else interval
        repetitions = _recent.begin(cause, seconds) if seconds else 0
        if repetitions is None or _deliver is None:
            return
        # Names may contain line breaks, which an email's subject can't.
        subject = " ".join(_storable(subject).split())
        text = _storable("\n\n".join(filter(None, paragraphs)))
        avoided = tuple(not_through or ())
        _deliver(Report(kind, cause, subject, text, seconds, avoided, opens, ends, repetitions))
    except Exception:
        error_logging.failure(logger, "An alert could not be raised: %s", subject)
