"""The status lines of *Email delivery*: whether email works, and every problem."""

import logging
from dataclasses import dataclass

from django.core.cache import cache
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import cached
from wagtail_smtp.admin.delivery.failures import LAST_DAY, RECENT, count_since, latest_failure
from wagtail_smtp.admin.labels import local_time
from wagtail_smtp.delivery.explain.redirects import active_redirect
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.diagnostics.conditions.expiring import expiring
from wagtail_smtp.diagnostics.conditions.limits import sending_limits
from wagtail_smtp.diagnostics.conditions.mailboxes import unread_mailboxes
from wagtail_smtp.diagnostics.conditions.rates import unusual_rates
from wagtail_smtp.live import environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.models.log import STANDARD
from wagtail_smtp.runtime import error_logging
from wagtail_smtp.transports import standard

logger = logging.getLogger(__name__)

#: Percentage from which the next message may not fit.
_FULL_AT = 98
#: Seconds for which the result is cached: every page needs it.
_CACHED = 60
_KEY = "wagtail_smtp.banner.store"
#: The same for the numbers of the last day.
_COUNTED_FOR = 30
_COUNTS = "wagtail_smtp.last_day"


@dataclass(frozen=True)
class StatusLine:
    """A status line.

    Attributes:
        kind: identifies its subject, e.g. ``store``.
        tone: ``good``, ``unsure`` or ``bad``.
        advice: how to fix it.
        anchor: id of the section of the page with details.
    """

    kind: str
    tone: str
    text: str
    advice: str = ""
    anchor: str = ""


def store_warning():
    """Return the line about a message store that is full or nearly full, or None."""
    percent = cached(_KEY, _CACHED, stored_message.percent_used)
    if percent < stored_message.WARN_AT:
        return None
    is_full = percent >= _FULL_AT
    if is_full:
        text = _(
            "The message store is full. Undelivered messages may not be kept, and email may not "
            "be queued."
        )
    else:
        text = _("The message store is %d%% full.") % percent
    advice = _(
        "When it is full, undelivered messages are not kept and email can't be queued. Look for "
        "undelivered messages in the delivery log, or ask a developer to raise "
        "WAGTAIL_SMTP['MAX_STORED']."
    )
    return StatusLine("store", "bad" if is_full else "unsure", text, advice)


def status_lines(overview, *, is_stuck, may_reload=True):
    """Return first whether email works, with the numbers of the last day, then every problem.

    While email is held, the line about that comes first, without numbers.

    Args:
        overview: describes the live configuration.
        is_stuck: whether the outbox is not being processed.
        may_reload: whether the reader may reload the application.
    """
    held = [*_held(overview, may_reload)]
    problems = [*_problems(overview, is_stuck)]
    if any(line.tone == "bad" for line in held):
        return [*held, *problems]
    is_bad = any(line.tone == "bad" for line in problems)
    return [_headline(_redirect(overview), is_bad=is_bad), *held, *problems]


def _headline(redirect, *, is_bad):
    """Return the line that says whether email works, as far as the last day shows it."""
    if is_bad:
        return StatusLine("attention", "bad", f"{_('Email needs attention.')} {_last_day()}")
    if _last_sent() is None:
        text = _("Send a test email to find out whether email works.")
        return StatusLine("unknown", "unsure", text)
    if redirect is None:
        return StatusLine("works", "good", f"{_('Email is working.')} {_last_day()}")
    if redirect.is_all:
        return StatusLine("works", "unsure", f"{_('All email is redirected.')} {_last_day()}")
    text = _("Email is working, but some of it is redirected.")
    return StatusLine("works", "unsure", f"{text} {_last_day()}")


def _last_day():
    """Return the numbers of the last 24 hours as a sentence."""
    sent, failed = cached(_COUNTS, _COUNTED_FOR, _count)
    if sent or failed:
        numbers = {"sent": number_format(sent), "failed": number_format(failed)}
        return _("%(sent)s sent in the last 24 hours, %(failed)s failed.") % numbers
    if newest := _last_sent():
        time = date_format(local_time(newest.created_at), "DATETIME_FORMAT")
        return _("The last email was sent on %s.") % time
    return _("No email was sent in the last 24 hours.")


def _count():
    """Count the messages sent and not sent. The numbers are those of the log and the home page."""
    since = timezone.now() - LAST_DAY
    sent = LogEntry.objects.using(write_alias()).since(since).filter(state=State.SENT)
    return sent.count(), count_since(since)


def forget_counts():
    """Count again, because this user has just sent a message."""
    with error_logging.without_cache(logger):
        cache.delete(_COUNTS)


def _held(overview, may_reload):
    """Yield the line about a live version that comes from another environment."""
    held_from = overview.held_from
    if environments.is_holding(held_from):
        advice = _("“Reload application” shows where email would go before it is sent from here.")
        if not may_reload:
            names = permissions.names_of_those_who_may(permissions.RELOAD)
            who = ", ".join(names) or _("someone with permission to reload the application")
            advice = _("To let it send email, ask %s.") % who
        yield StatusLine("held", "bad", environments.held_text(held_from), advice)
    elif held_from:
        text = environments.origin_text(held_from)
        advice = _("Email is sent from here, because all of it is redirected.")
        yield StatusLine("held", "unsure", text, advice)


def _problems(overview, is_stuck):
    if overview.refusal:
        yield StatusLine("refusal", "bad", overview.refusal)
    for problem in overview.live_problems:
        yield StatusLine("unusable", "bad", str(problem))
    redirect = _redirect(overview)
    if redirect is not None and redirect.is_blocked:
        yield StatusLine("redirect", "bad", redirect.without_addresses)
    if failure := latest_failure():
        yield StatusLine("failed", "bad", str(failure), anchor="failures-section")
    if is_stuck:
        text = _("Messages in the outbox are not being sent.")
        yield StatusLine("outbox", "bad", text, anchor="outbox-section")
    if _is_standard_unconfigured():
        yield StatusLine(
            "standard",
            "bad",
            _("Standard delivery is not configured, so password resets can't be sent."),
            _(
                "Ask a developer to set EMAIL_HOST and the related settings, or "
                'WAGTAIL_SMTP["STANDARD"], in the project\'s settings.'
            ),
        )
    if store := store_warning():
        yield store
    if not overview.refusal:
        finders = (sending_limits, expiring, unusual_rates, unread_mailboxes)
        for found in (each for find in finders for each in find()):
            _meaning, what_to_do, *_rest = found.paragraphs
            yield StatusLine(found.kind, "unsure", f"{found.summary}.", what_to_do)


def _is_standard_unconfigured():
    server = standard.server()
    if server is None or server.is_configured:
        return False
    # A mail server on the same machine needs no settings.
    return _last_sent(STANDARD) is None


def _redirect(overview):
    return None if overview.refusal else active_redirect(overview.live)


def _last_sent(carrier=""):
    """Return the newest message sent in the last days, or None."""
    sent = LogEntry.objects.using(write_alias()).filter(state=State.SENT)
    if carrier:
        sent = sent.through(carrier)
    newest = sent.order_by("-pk").first()
    is_recent = newest is not None and newest.created_at >= timezone.now() - RECENT
    return newest if is_recent else None
