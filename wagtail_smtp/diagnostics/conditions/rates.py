"""Unusually many refusals and complaints, by set, and suppressed addresses, by domain."""

from collections.abc import Iterator

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.diagnostics import refusals
from wagtail_smtp.diagnostics.conditions.base import DAILY, Condition, shown_time


def unusual_rates() -> Iterator[Condition]:
    """Unusually many refusals or complaints, by set, and suppressed addresses, by domain."""
    for rates in refusals.unusual():
        if rates.has_many_refused:
            yield _many_refused(rates)
        if rates.has_many_complaints:
            yield _many_complaints(rates)
    for found in refusals.unusual_suppressions():
        yield _many_suppressed(found)


def _many_refused(rates: refusals.Rates) -> Condition:
    percent = number_format(100 * rates.refused / max(rates.recipients, 1), 0)
    values = _shown(rates, rates.refused) | {"percent": percent}
    return Condition(
        AlertKind.REFUSALS,
        f"refused {rates.key}",
        DAILY,
        _("%(percent)s%% of recipients refuse email from “%(name)s”") % values,
        (
            _(
                "Since %(since)s, “%(name)s” has sent email to %(recipients)s recipients. "
                "%(number)s of them were refused, or the email bounced."
            )
            % values,
            _(
                "Check whether the addresses are real: bots enter fake ones into forms, and old "
                "lists contain many that no longer exist. If the responses mention your domain, "
                "spam or policy, the cause is the sender's DNS records or reputation. Email "
                "providers may suspend your account for this, Amazon SES at 10 percent."
            ),
            _("The delivery log shows each response. Filter it by “Refused” and by “%s”.")
            % rates.name,
        ),
    )


def _many_complaints(rates: refusals.Rates) -> Condition:
    values = _shown(rates, rates.complaints)
    return Condition(
        AlertKind.REFUSALS,
        f"complaints {rates.key}",
        DAILY,
        _("Recipients report email from “%(name)s” as spam") % values,
        (
            _(
                "Since %(since)s, %(number)s recipients have reported email from “%(name)s” as "
                "spam. It was sent to %(recipients)s recipients in that time."
            )
            % values,
            _(
                "Gmail and Yahoo put a sender's email into spam at 0.3 percent. Send only to "
                "people who asked for it, let them unsubscribe with one click, and stop sending to "
                "those who complained."
            ),
            _("In the delivery log, filter by “Reported as spam” to see which messages these are."),
        ),
    )


def _many_suppressed(found: refusals.Suppressions) -> Condition:
    values = {
        "number": number_format(found.number, force_grouping=True),
        "domain": found.domain,
        "since": shown_time(found.since),
    }
    return Condition(
        AlertKind.REFUSALS,
        f"suppressed {found.domain}",
        DAILY,
        _("%(number)s addresses at %(domain)s were suppressed after bounces") % values,
        (
            _(
                "Since %(since)s, mail servers have said of %(number)s addresses at %(domain)s "
                "that they don't exist. So they no longer get email, except security email such "
                "as password resets."
            )
            % values,
            _(
                "If these people are known to exist, a mail server was wrong, which happens during "
                "outages. Let them get email again: open “Email → Suppressed addresses”, search "
                "for “%(domain)s”, filter by “Hard bounce” and the date, select all that match, "
                "and remove them."
            )
            % values,
            _("Otherwise check where the addresses come from: bots enter fake ones into forms."),
        ),
    )


def _shown(rates: refusals.Rates, number: int) -> dict[str, str]:
    return {
        "name": rates.name,
        "since": shown_time(rates.since),
        "number": number_format(number, force_grouping=True),
        "recipients": number_format(rates.recipients, force_grouping=True),
    }
