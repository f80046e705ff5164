"""A test as lines of JSON, each written when its stage is done.

Every line has a ``kind``: ``stage``; ``end`` with what came of it all; ``problem`` instead of a
test, with why there was none, and ``errors`` by the names of form fields.
"""

import json
import logging
import threading
import time
import uuid

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.admin.delivery.failures import problem_url
from wagtail_smtp.diagnostics.causes.base import without_prefix
from wagtail_smtp.diagnostics.check_set import FAST
from wagtail_smtp.exceptions import DestinationRefused
from wagtail_smtp.runtime import error_logging, once

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/x-ndjson"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Otherwise nginx buffers the lines.
    "X-Accel-Buffering": "no",
}
#: Extensions and addresses shown of a server that has a lot of them.
_SHOWN = 20


def problem(status, text, errors=None, wait=None):
    """The response if nothing was tested."""
    line = _line({"kind": "problem", "text": str(text), "errors": errors or {}})
    headers = _HEADERS | ({"Retry-After": str(wait)} if wait else {})
    return HttpResponse(line, status=status, content_type=CONTENT_TYPE, headers=headers)


def stream(request, trial, running):
    """The response that runs the test while it is read.

    Args:
        trial: the :class:`~wagtail_smtp.admin.connection_check.checked_set.CheckedSet`.
        running: ended when the test is, or the response is closed.
    """
    kind = AsyncLines if isinstance(request, ASGIRequest) else Lines
    lines = kind(_lines(trial, running), running)
    return StreamingHttpResponse(lines, content_type=CONTENT_TYPE, headers=_HEADERS)


def _lines(trial, running):
    # A test has ended before its last line is read: the user may then start the next one.
    ended_at, reached = None, set()
    try:
        for report in trial.reports():
            ended_at = report if report.cause else None
            reached.add(report.stage.name)
            yield _line(_stage(report))
    except Exception:
        error_logging.failure(
            logger, "The test of the settings set %r failed with an error.", trial.item.name
        )
        text = _(
            "The test could not run because of an error on this site. "
            "Ask a developer to check the site's log."
        )
        running.end()
        yield _line({"kind": "end", "ok": False, "text": text, "notes": []})
        return
    last = _line({"kind": "end", **_end(trial, ended_at, reached)})
    running.end()
    yield last


def _stage(report):
    stage = report.stage
    line = {
        "kind": "stage",
        "ok": stage.error is None,
        "label": str(report.label),
        "time": _("%.2f s") % stage.seconds,
        "details": [str(detail) for detail in _details(stage)],
        "words": _words(stage),
    }
    if report.cause is not None:
        line["remedy"] = {
            "title": str(report.cause.title),
            "advice": str(report.cause.advice),
            "url": problem_url(report.cause),
        }
    return line


def _details(stage):
    """What the stage found, as texts."""
    found = stage.details
    if found.get("addresses"):
        yield ", ".join(found["addresses"][:_SHOWN])
    if found.get("expires"):
        yield _("%(protocol)s, certificate by %(issuer)s, valid until %(date)s") % {
            "protocol": found["protocol"],
            "issuer": found["issuer"] or _("an unnamed authority"),
            # In UTC: what never expires ends with the last second that there is (RFC 5280
            # 4.1.2.5), which some time zones don't have.
            "date": date_format(found["expires"], "DATE_FORMAT"),
        }
    if found.get("extensions"):
        yield _("Offers %s") % ", ".join(found["extensions"][:_SHOWN])
    if found.get("fast"):
        yield FAST[found["fast"]]
    if found.get("sender"):
        yield found["sender"]
    if found.get("accepted"):
        yield ", ".join(found["accepted"])


def _words(stage):
    """The server's response, or the error's text if there was none."""
    error = stage.error
    if error is None or isinstance(error, DestinationRefused):
        return stage.response
    if stage.response:
        return f"{error.code} {stage.response}" if getattr(error, "code", 0) else stage.response
    return str(error.__cause__ or without_prefix(str(error)))


def _end(trial, ended_at, reached):
    notes = list(map(str, trial.notes_after(reached)))
    if ended_at is not None:
        found = {"stage": ended_at.label, "problem": ended_at.cause.title}
        text = _("The test failed. %(stage)s: %(problem)s.") % found
        return {"ok": False, "text": text, "notes": notes}
    return {"ok": True, "text": str(trial.success(reached)), "notes": notes}


def _line(content):
    return json.dumps(content).encode() + b"\n"


class Lines:
    """The lines for WSGI, in the language of the request."""

    def __init__(self, lines, running):
        self._lines, self._running = lines, running
        self._language = translation.get_language()
        self._zone = timezone.get_current_timezone()
        self._busy = threading.Lock()
        self._is_closed = False

    def __iter__(self):
        return self

    def __next__(self):
        line = self.following()
        if line is None:
            raise StopIteration
        return line

    def following(self):
        """The next line, or None."""
        line = None
        with self._busy:
            # The request's own language and time zone ended with the view.
            if not self._is_closed:
                with translation.override(self._language), timezone.override(self._zone):
                    line = next(self._lines, None)
        if line is None or self._is_closed:
            self.close()
            return None
        return line

    def close(self):
        """Close the connection to the server that is tested; called at the end in any case."""
        self._is_closed = True
        # A stage that is running in another thread closes when it is done.
        if self._busy.acquire(blocking=False):
            try:
                self._lines.close()
            finally:
                self._busy.release()
                self._running.end()


class AsyncLines:
    """The lines for ASGI; each stage runs in a thread, so as not to block the event loop."""

    def __init__(self, lines, running):
        self._lines = Lines(lines, running)
        self.close = self._lines.close

    async def __aiter__(self):
        while True:
            line = await sync_to_async(self._lines.following, thread_sensitive=False)()
            if line is None:
                return
            yield line


#: Seconds, and how many tests of servers a user may begin in them.
LIMITS = ((60, 10), (3600, 60))
#: The same for test emails that are sent with the live settings.
EMAIL_LIMITS = ((60, 5),)
#: Seconds for which a test counts as running if its process dies before the test ends.
LONGEST = 30


class NotNow(Exception):
    """The user has to wait.

    Attributes:
        seconds: how long.
    """

    def __init__(self, message, seconds):
        super().__init__(message)
        self.seconds = seconds


class Running:
    """One test of a user; ``end()`` it, or the next one has to wait."""

    def __init__(self, user):
        self._key = f"wagtail_smtp.test.{user.pk}"
        self._token = uuid.uuid4().hex

    def begin(self):
        """Begin it.

        Raises:
            NotNow: another one is running, or there were too many.
        """
        if not once.is_first(self._key, LONGEST, self._token):
            text = _("You are already running a test. Wait up to 20 seconds and try again.")
            raise NotNow(text, LONGEST)
        try:
            _count(self._key, LIMITS)
        except NotNow:
            self.end()
            raise

    def end(self):
        """End it. May be called twice."""
        # The token spares a test that began after this one had exceeded LONGEST.
        once.is_undone(self._key, self._token)


def count_email(user):
    """Count a test email of a user's.

    Raises:
        NotNow: there were too many.
    """
    _count(f"wagtail_smtp.test_email.{user.pk}", EMAIL_LIMITS)


def _count(key, limits):
    now = time.time()
    for seconds, limit in limits:
        if once.count(f"{key}.{seconds}.{int(now // seconds)}", seconds + 1) > limit:
            raise NotNow(*_too_many(limit, seconds - int(now % seconds)))


def _too_many(limit, seconds):
    if seconds < 90:
        text = ngettext(
            "You have run %(limit)d tests in a short time. Try again in %(n)d second.",
            "You have run %(limit)d tests in a short time. Try again in %(n)d seconds.",
            seconds,
        )
        return text % {"limit": limit, "n": seconds}, seconds
    minutes = seconds // 60 + 1
    text = ngettext(
        "You have run %(limit)d tests in a short time. Try again in %(n)d minute.",
        "You have run %(limit)d tests in a short time. Try again in %(n)d minutes.",
        minutes,
    )
    return text % {"limit": limit, "n": minutes}, seconds
