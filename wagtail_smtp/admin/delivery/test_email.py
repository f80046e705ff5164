"""*Send test email* on the delivery page: its form, and which way the message took."""

from dataclasses import dataclass

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.delivery.failures import problem_url
from wagtail_smtp.admin.labels import category_choices, category_label, via_label
from wagtail_smtp.categories import TEST
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.delivery.explain import explain
from wagtail_smtp.delivery.routing import FORCED
from wagtail_smtp.diagnostics.causes.base import Cause
from wagtail_smtp.diagnostics.from_log import cause_of
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import State

#: Where the session keeps what the user tested last.
KEY = "wagtail_smtp_test"


class TestEmailForm(forms.Form):
    """To whom, and as which category."""

    __test__ = False  # pytest's, which takes it for a test by its name

    recipient = forms.EmailField(label=gettext_lazy("Recipient"), max_length=254)
    category = forms.ChoiceField(
        label=gettext_lazy("Category"),
        choices=category_choices,
        initial=TEST,
        help_text=gettext_lazy("The message goes the way that mail of this category takes."),
    )

    def clean_recipient(self):
        address = self.cleaned_data["recipient"]
        if not is_email_address(address):
            raise ValidationError(_("Enter a valid email address."))
        return address


@dataclass(frozen=True)
class Result:
    """What became of the user's last test email, as things stand now.

    Attributes:
        status: of the block it is shown in: ``info``, ``warning`` or ``critical``.
        facts: labels and values.
        cause: why it was not sent, if that is known.
        entry: None if the log has none.
    """

    status: str
    headline: str
    facts: tuple[tuple[str, str], ...] = ()
    cause: Cause | None = None
    entry: LogEntry | None = None

    @property
    def url(self):
        """Where the cause is described."""
        return problem_url(self.cause)


def remember(request, account, recipient):
    """Keep for :func:`last_result` what became of a test email."""
    number = account.entry.pk if account.entry else None
    request.session[KEY] = {"entry": number, "words": account.reason, "recipient": recipient}


def last_result(request, configuration):
    """The :class:`Result` of what the user tested last; None: nothing.

    Args:
        configuration: what is live.
    """
    kept = request.session.get(KEY)
    if kept is None:
        return None
    entry = (
        LogEntry.objects.using(write_alias()).filter(pk=kept["entry"]).first()
        if kept["entry"]
        else None
    )
    if entry is None:
        return _without_entry(kept["words"])
    status, headline = _headline(entry)
    is_sent = entry.state == State.SENT
    facts = tuple(_facts(entry, kept["recipient"], configuration, request.user))
    cause = None if is_sent else cause_of(entry, configuration)
    return Result(status, headline, facts, cause, entry)


def _without_entry(words):
    if words:
        return Result("critical", _("The test email was not sent: %s") % words)
    return Result(
        "warning",
        _(
            "The test email left, but the delivery log has no entry of it. Either the log could "
            "not be written, or the site's email doesn't go through wagtail-smtp: "
            "“manage.py check” says so."
        ),
    )


def _headline(entry):
    """How it is shown, and in a sentence what became of it."""
    if entry.state == State.SENT:
        return "info", _("The test email was sent.")
    if entry.state == State.QUEUED:
        return "info", _("The test email is queued. It leaves when the outbox is worked off.")
    if not entry.is_final:
        return "warning", _("The test email could not be sent yet. The outbox tries again.")
    if entry.state == State.UNKNOWN:
        return "warning", _("It is not known whether the test email was sent.")
    return "critical", _("The test email was not sent.")


def _facts(entry, recipient, configuration, user):
    """Label and value of each line. Addresses of a redirect only to who may see the sets."""
    may_see = permissions.may_see(user)
    yield _("Recipient"), recipient
    yield _("Category"), category_label(entry.category)
    attempts = list(entry.attempts.all())
    if entry.via:
        label = _("Sent through") if entry.state == State.SENT else _("Last tried")
        name, why = via_label(entry.via), explain(entry.category, configuration).why
        # One that is not the first was not chosen for that.
        yield label, name if attempts[1:] else _("%(name)s: %(why)s") % {"name": name, "why": why}
    if entry.redirected_by:
        yield _("Redirected by"), _who(entry.redirected_by)
        if may_see:
            rows = entry.recipients.filter(role=LogRecipient.Role.ENVELOPE).order_by("pk")
            yield _("Redirected to"), ", ".join(row.address for row in rows[:20])
    # A server's words may name those it was redirected to.
    if may_see or not entry.redirected_by:
        for attempt in attempts[:-1]:
            values = {"name": via_label(attempt.via), "words": attempt.reply}
            yield _("Tried before"), _("%(name)s: %(words)s") % values
        yield _("What was said"), entry.reason


def _who(source):
    return _("the project's settings") if source == FORCED else source
