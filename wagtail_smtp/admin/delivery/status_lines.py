"""Whether email works: the status lines at the top of *Email delivery*."""

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from wagtail_smtp.admin.banner import without_addresses
from wagtail_smtp.admin.delivery.failures import RECENT
from wagtail_smtp.admin.delivery.recent_failures import latest_failure
from wagtail_smtp.admin.delivery.store_usage import warning as store_warning
from wagtail_smtp.delivery.active_redirect import active_redirect
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.transports import standard


@dataclass(frozen=True)
class StatusLine:
    """One line about what works or doesn't.

    Attributes:
        kind: what it is about.
        tone: ``good``, ``unsure`` or ``bad``.
        advice: what to do.
        anchor: id of the section of the page with details.
    """

    kind: str
    tone: str
    text: str
    advice: str = ""
    anchor: str = ""


def status_lines(overview, *, is_stuck):
    """Return every problem, the worst first; without a bad one, whether email is known to work.

    Args:
        overview: what is live.
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
    failure = latest_failure()
    if failure is not None:
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
    store = store_warning()
    if store is not None:
        yield StatusLine("store", "bad" if store.is_full else "unsure", store.text, store.advice)


def _is_standard_unconfigured():
    server = standard.server()
    if server is None or server.is_configured:
        return False
    # A mail server on the same machine needs no settings.
    return _last_sent(via=standard.NAME) is None


def _works():
    if _last_sent() is not None:
        return StatusLine("works", "good", _("Email is being sent."))
    text = _("Send a test email to find out whether email works.")
    return StatusLine("unknown", "unsure", text)


def _last_sent(**values):
    """Return the newest message sent in the last days, or None."""
    sent = LogEntry.objects.using(write_alias()).filter(state=State.SENT, **values)
    newest = sent.order_by("-pk").first()
    is_recent = newest is not None and newest.created_at >= timezone.now() - RECENT
    return newest if is_recent else None
