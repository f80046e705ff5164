"""A connection check, with or without a test email, and its stages as lines of JSON.

Each line has a ``kind``: ``stage``; ``end`` with the result; or ``problem`` if nothing was tested,
with ``errors`` by the names of form fields. A line is written when its stage is completed.
"""

import json
import logging
import threading
from dataclasses import dataclass, field, replace

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone, translation
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.admin.deliverability import line_about
from wagtail_smtp.admin.delivery.failures import problem_url
from wagtail_smtp.causes.base import without_prefix
from wagtail_smtp.config.references import labels
from wagtail_smtp.config.values import SettingsSetConfig, TransportConfig
from wagtail_smtp.delivery.routing import FORCED
from wagtail_smtp.diagnostics.check_set import (
    FAST,
    build_test_message,
    proved,
    redirect_for_test,
    sender_hints,
    try_server,
)
from wagtail_smtp.exceptions import DestinationRefused
from wagtail_smtp.live import consents, draft_configuration
from wagtail_smtp.live.resolve import transport_class, transport_config
from wagtail_smtp.runtime import error_logging
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.catalog import ESPConfig

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/x-ndjson"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Otherwise nginx buffers the lines.
    "X-Accel-Buffering": "no",
}
#: How many of a server's extensions and addresses are shown.
_SHOWN = 20


@dataclass(frozen=True)
class ConnectionCheck:
    """A check that is ready to run and no longer needs the database.

    Attributes:
        outgoing: the test email; None: only the connection is tested.
        login: describes the credentials that the check uses.
        notes: texts to show in addition to the stages.
    """

    item: SettingsSetConfig
    server: TransportConfig | ESPConfig = field(repr=False)
    outgoing: OutgoingMessage | None
    login: str
    notes: tuple[str, ...]

    @classmethod
    def prepare(cls, item, secret, is_typed, address=None):
        """Look up everything that the check needs.

        Args:
            item: the set as plain values.
            secret: its secret, stored or not, or None.
            is_typed: whether the secret was typed into the form.
            address: where to send a test email; None: only test the connection.

        Raises:
            EmailDeliveryError: the secret can't be used, a redirect has no usable address, or the
                live configuration, which may redirect, is not available.
        """
        consents.require_own(item)
        server = transport_config(item, secret, is_test=True)
        login, notes = _login(item, secret, is_typed), _hints(item)
        if line := line_about(item):
            notes.append(line)
        if address is None:
            return cls(item, server, None, login, tuple(notes))
        redirect = redirect_for_test(item)
        outgoing = build_test_message(item, server.username, address, redirect)
        if redirect is not None:
            notes.insert(0, _redirected(redirect, address))
        return cls(item, server, outgoing, login, tuple(notes))

    def end(self, failed, reached):
        """Return the values of the last line.

        Args:
            failed: the stage that failed, or None.
            reached: names of all stages that were tried.
        """
        notes = list(self.notes)
        if self._was_login_tried(reached):
            notes.append(self.login)
        if failed is None:
            return {"ok": True, "text": self._success(reached), "notes": notes}
        found = {"stage": failed.label, "problem": failed.cause.title}
        text = _("The test failed. %(stage)s: %(problem)s.") % found
        return {"ok": False, "text": text, "notes": notes}

    def _was_login_tried(self, reached):
        tried = {"recipient", "message"}
        if transport_class(self.item).supports_login_check:
            tried = {"auth"} if self.server.username else {"sender", *tried}
        return bool(tried & reached)

    def _success(self, reached):
        """Return the text of a successful check, which claims only what the stages proved."""
        if self.outgoing is None:
            return proved(self.item, reached)
        recipients = ", ".join(self.outgoing.envelope.recipients)
        return _("The server accepted the test email for %s. Check the inbox.") % recipients


def _login(item, secret, is_typed):
    if secret is not None and secret.references:
        return _("Tested with the password or key from the %s.") % labels(secret.references)
    if item.uses_esp:
        return (
            _("Tested with the key you entered.") if is_typed else _("Tested with the saved key.")
        )
    if item.authentication == "none":
        return _("Tested without logging in.")
    if item.authentication == "default":
        return _("Tested with the default credentials, those of standard delivery.")
    if item.authentication == "oauth2":
        return _("Tested with an access token (OAuth 2).")
    if is_typed:
        return _("Tested with the password you entered.")
    return _("Tested with the saved password.")


def _hints(item):
    """Return the hints about this set's sender, given the other sets as they are saved."""
    draft = draft_configuration()
    sets = {each.key: each for each in draft.sets} | {item.key: item}
    hints = sender_hints(replace(draft, sets=tuple(sets.values())))
    return [str(hint.message) for hint in hints if hint.set_name == item.name]


def _redirected(redirect, address):
    if redirect.source == FORCED:
        text = _("The project's settings redirect all email, so the test email did not go to %s.")
        return text % address
    text = _("“%(set)s” redirects its email, so the test email did not go to %(address)s.")
    return text % {"set": redirect.source, "address": address}


def problem_response(status, text, errors=None, wait=None):
    """Return the response if nothing was tested."""
    line = _line({"kind": "problem", "text": str(text), "errors": errors or {}})
    headers = _HEADERS | ({"Retry-After": str(wait)} if wait else {})
    return HttpResponse(line, status=status, content_type=CONTENT_TYPE, headers=headers)


def stream(request, check, running):
    """Return a response that runs the check while it is read.

    Args:
        running: a :class:`~wagtail_smtp.admin.connection_check.views.RunningCheck`; it ends with
            the check, or when the response is closed.
    """
    kind = AsyncLines if isinstance(request, ASGIRequest) else Lines
    lines = kind(_lines(check, running), running)
    return StreamingHttpResponse(lines, content_type=CONTENT_TYPE, headers=_HEADERS)


def _lines(check, running):
    failed, reached = None, set()
    try:
        for result in try_server(check.item, check.server, check.outgoing):
            failed = result if result.cause else None
            reached.add(result.stage.name)
            yield _line(_stage(result))
        end = check.end(failed, reached)
    except Exception:
        error_logging.failure(
            logger, "The test of the settings set %r failed with an error.", check.item.name
        )
        text = _(
            "The test could not run because of an error on this site. "
            "Ask a developer to check the site's log."
        )
        end = {"ok": False, "text": text, "notes": []}
    # Before the last line is read, so that the user may then start the next test.
    running.end()
    yield _line({"kind": "end", **end})


def _stage(result):
    stage = result.stage
    line = {
        "kind": "stage",
        "ok": stage.error is None,
        "label": str(result.label),
        "time": _("%s s") % number_format(round(stage.seconds, 2), 2),
        "details": [str(detail) for detail in _details(stage.details)],
        "response": _response(stage),
    }
    if result.cause is not None:
        line["cause"] = {
            "title": str(result.cause.title),
            "advice": str(result.cause.advice),
            "url": problem_url(result.cause),
        }
    return line


def _details(found):
    """Yield what the stage found, as texts."""
    if found.get("addresses"):
        yield ", ".join(found["addresses"][:_SHOWN])
    if found.get("expires"):
        yield _("%(protocol)s, certificate by %(issuer)s, valid until %(date)s") % {
            "protocol": found["protocol"],
            "issuer": found["issuer"] or _("an unnamed authority"),
            # In UTC: a certificate that never expires ends with the last second that there is
            # (RFC 5280 4.1.2.5), which some time zones don't have.
            "date": date_format(found["expires"], "DATE_FORMAT"),
        }
    if found.get("extensions"):
        yield _("Offers %s") % ", ".join(found["extensions"][:_SHOWN])
    if found.get("fast"):
        yield FAST[found["fast"]]
    if found.get("sender"):
        yield found["sender"]
    if "messages" in found:
        yield ngettext("%d message", "%d messages", found["messages"]) % found["messages"]
    if found.get("accepted"):
        yield ", ".join(found["accepted"])


def _response(stage):
    """Return the server's response, or the error's text if there was none."""
    error = stage.error
    if error is None or isinstance(error, DestinationRefused):
        return stage.response
    if stage.response:
        return f"{error.code} {stage.response}" if getattr(error, "code", 0) else stage.response
    return str(error.__cause__ or without_prefix(str(error)))


def _line(content):
    return json.dumps(content).encode() + b"\n"


class Lines:
    """The lines for WSGI, in the language and time zone of the request."""

    def __init__(self, lines, running):
        self._lines, self._running = lines, running
        self._language = translation.get_language()
        self._zone = timezone.get_current_timezone()
        self._lock = threading.Lock()
        self._is_closed = False

    def __iter__(self):
        return self

    def __next__(self):
        line = self.next_line()
        if line is None:
            raise StopIteration
        return line

    def next_line(self):
        """Return the next line, or None at the end."""
        line = None
        with self._lock:
            # The request's own language and time zone ended with the view.
            if not self._is_closed:
                with translation.override(self._language), timezone.override(self._zone):
                    line = next(self._lines, None)
        if line is None or self._is_closed:
            self.close()
            return None
        return line

    def close(self):
        """Close the connection to the tested server. It is always called at the end."""
        self._is_closed = True
        # If a stage is running in another thread, that thread closes when the stage is done.
        if self._lock.acquire(blocking=False):
            try:
                self._lines.close()
            finally:
                self._lock.release()
                self._running.end()


class AsyncLines:
    """The lines for ASGI; each stage runs in a thread, so as not to block the event loop."""

    def __init__(self, lines, running):
        self._lines = Lines(lines, running)
        self.close = self._lines.close

    async def __aiter__(self):
        while True:
            line = await sync_to_async(self._lines.next_line, thread_sensitive=False)()
            if line is None:
                return
            yield line
