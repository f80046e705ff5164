"""Whether email works: the status lines at the top of *Email delivery*."""

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from wagtail_smtp.admin.base import cached
from wagtail_smtp.admin.delivery.failures import RECENT, latest_failure
from wagtail_smtp.delivery.explain import active_redirect
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.models.log import STANDARD
from wagtail_smtp.transports import standard

#: Percentage from which the next message may not fit.
_FULL_AT = 98
#: Seconds for which the result is cached: every page needs it.
_CACHED = 60
_KEY = "wagtail_smtp.banner.store"


def without_addresses(redirect):
    """Describe a redirect to users who may not see its addresses."""
    if redirect.is_blocked:
        if redirect.is_all and not redirect.addresses:
            return _(
                "No email is being sent: it is redirected, but there is no valid report email."
            )
        return _(
            "Some email is not being sent: it is redirected, but there is no valid report email."
        )
    if redirect.is_all:
        return _("All email is redirected. Nothing reaches its real recipients.")
    return _("Some email is redirected and doesn't reach its real recipients.")


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


def status_lines(overview, *, is_stuck):
    """Return every problem, the worst first; without a bad one, whether email is known to work.

    Args:
        overview: describes the live configuration.
        is_stuck: whether the outbox is not being processed.
    """
    lines = [*_problems(overview, is_stuck)]
    if not any(line.tone == "bad" for line in lines):
        lines.insert(0, _works())
    return lines


def _problems(overview, is_stuck):
    if overview.refusal:
        yield StatusLine("refusal", "bad", overview.refusal)
    redirect = None if overview.refusal else active_redirect(overview.live)
    if redirect is not None and redirect.is_blocked:
        yield StatusLine("redirect", "bad", without_addresses(redirect))
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


def _is_standard_unconfigured():
    server = standard.server()
    if server is None or server.is_configured:
        return False
    # A mail server on the same machine needs no settings.
    return _last_sent(STANDARD) is None


def _works():
    if _last_sent() is not None:
        return StatusLine("works", "good", _("Email is being sent."))
    text = _("Send a test email to find out whether email works.")
    return StatusLine("unknown", "unsure", text)


def _last_sent(carrier=""):
    """Return the newest message sent in the last days, or None."""
    sent = LogEntry.objects.using(write_alias()).filter(state=State.SENT)
    if carrier:
        sent = sent.through(carrier)
    newest = sent.order_by("-pk").first()
    is_recent = newest is not None and newest.created_at >= timezone.now() - RECENT
    return newest if is_recent else None
