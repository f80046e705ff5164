"""*Send test email* on the *Email delivery* page: the form and the result."""

from dataclasses import dataclass

from django import forms
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp import suppression
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import SUPPRESSED_ADDRESS, validate_address
from wagtail_smtp.admin.delivery.failures import problem_url
from wagtail_smtp.admin.labels import carrier_label, category_choices, category_label
from wagtail_smtp.categories import TEST
from wagtail_smtp.causes import by_slug
from wagtail_smtp.causes.base import Cause
from wagtail_smtp.config.values import OTHER_SITE
from wagtail_smtp.delivery.explain.routes import explain
from wagtail_smtp.delivery.routing import FORCED
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import State

#: Session key of the user's last test.
KEY = "wagtail_smtp_test"


class EmailCheckForm(forms.Form):
    """The recipient and the category of the test email."""

    recipient = forms.CharField(
        label=gettext_lazy("Recipient"),
        max_length=254,
        widget=forms.EmailInput,
        validators=[validate_address],
    )
    category = forms.ChoiceField(
        label=gettext_lazy("Category"),
        choices=category_choices,
        initial=TEST,
        help_text=gettext_lazy(
            "The test is sent exactly as the site sends email of this category."
        ),
    )


@dataclass(frozen=True)
class Result:
    """The result of the user's last test email.

    Attributes:
        status: of the help block: ``info``, ``warning`` or ``critical``.
        facts: labels and values.
        cause: why it was not sent, if known.
        entry: its log entry, or None.
        suppressed_url: the page of the recipient if that is why it was not sent.
    """

    status: str
    headline: str
    facts: tuple[tuple[str, str], ...] = ()
    cause: Cause | None = None
    entry: LogEntry | None = None
    suppressed_url: str = ""

    @property
    def url(self):
        """The URL of the cause's description."""
        return problem_url(self.cause)


def remember(request, outcome, recipient):
    """Store the outcome of a test email in the session, for :func:`last_result`."""
    number = outcome.entry.pk if outcome.entry else None
    request.session[KEY] = {"entry": number, "reason": outcome.reason, "recipient": recipient}


def last_result(request, overview):
    """Return the :class:`Result` of the user's last test, or None.

    Args:
        overview: describes the live configuration.
    """
    last = request.session.get(KEY)
    if last is None:
        return None
    # Not from a replica, which may not have the entry yet.
    entry = LogEntry.objects.using(write_alias()).filter(pk=last["entry"]).first()
    if entry is None:
        return _without_entry(last["reason"])
    status, headline = _headline(entry)
    facts = tuple(_facts(entry, last["recipient"], overview, request.user))
    cause = by_slug(entry.cause)
    suppressed_url = _suppressed_url(entry, last["recipient"], request.user)
    return Result(status, headline, facts, cause, entry, suppressed_url)


def _suppressed_url(entry, recipient, user):
    """Return the URL of the recipient on the suppression list; empty if the user may not see it."""
    if entry.state != State.SUPPRESSED or not user.has_perm(permissions.VIEW_SUPPRESSED):
        return ""
    found = suppression.find([recipient]).get(recipient)
    return reverse(SUPPRESSED_ADDRESS, args=[found.pk]) if found else ""


def _without_entry(reason):
    if reason:
        return Result("critical", _("The test email was not sent: %s") % reason)
    return Result(
        "warning",
        _(
            "The test email was sent, but it has no entry in the delivery log. Either the log "
            "could not be written, or the site's email bypasses wagtail-smtp. Ask a developer to "
            "run “manage.py check”."
        ),
    )


def _headline(entry):
    """Return the status of the help block and a sentence."""
    if entry.state == State.SENT:
        return "info", _("The test email was sent.")
    if entry.state == State.QUEUED:
        return "info", _(
            "The test email is queued. It will be sent when the outbox is next processed."
        )
    if not entry.is_final:
        return "warning", _("The test email could not be sent yet. It will be tried again.")
    if entry.state == State.UNKNOWN:
        return "warning", _("There was no confirmation. The test email may have been sent.")
    if entry.state == State.SUPPRESSED:
        return "warning", _("The test email was not sent, because its recipient is suppressed.")
    return "critical", _("The test email was not sent.")


def _facts(entry, recipient, overview, user):
    """Yield label and value of each line. Only users who may see sets see redirect addresses."""
    may_see = permissions.may_see(user)
    yield _("Recipient"), recipient
    yield _("Category"), category_label(entry.category)
    attempts = list(entry.attempts.all())
    if entry.via:
        label = _("Sent through") if entry.state == State.SENT else _("Last attempt")
        found = explain(
            entry.category, overview.live, overview.held_from, entry.site_key or OTHER_SITE
        )
        name, why = carrier_label(entry), found.why
        # The reason for the choice applies to the first attempt only.
        yield label, name if attempts[1:] else _("%(name)s: %(why)s") % {"name": name, "why": why}
    if entry.redirected_by:
        is_forced = entry.redirected_by == FORCED
        yield _("Redirected by"), _("the project's settings") if is_forced else entry.redirected_by
        if may_see:
            rows = entry.recipients.filter(role=LogRecipient.Role.ENVELOPE).order_by("pk")
            yield _("Redirected to"), ", ".join(row.address for row in rows[:20])
    # A server's response may contain the redirect's addresses.
    if entry.state != State.SUPPRESSED and (may_see or not entry.redirected_by):
        for attempt in attempts[:-1]:
            values = {"name": carrier_label(attempt), "response": attempt.reply}
            yield _("Earlier attempt"), _("%(name)s: %(response)s") % values
        yield _("Response"), entry.reason
