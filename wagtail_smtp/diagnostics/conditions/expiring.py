"""Certificates, consents and client secrets that expire soon."""

from collections.abc import Iterator

from django.utils.translation import gettext as _

from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.diagnostics import expiry
from wagtail_smtp.diagnostics.conditions.base import Condition, shown_date, where

#: A longer time than anything is reported before it expires: each limit is reported once.
_ONCE = 60 * 24 * 3600.0


def expiring() -> Iterator[Condition]:
    """Certificates, consents and client secrets; each limit of days is reported once."""
    for each in expiry.expiring():
        summary, paragraphs = _EXPIRY[each.kind](each)
        yield Condition(
            AlertKind.EXPIRING,
            f"{each.kind} {each.server or each.key} {each.at:%Y-%m-%d} {each.days}",
            _ONCE,
            summary,
            paragraphs,
        )


def _certificate(each: expiry.Expiry) -> tuple[str, tuple[str, ...]]:
    values = {"server": each.server, "date": shown_date(each.at), "name": each.name}
    return (
        _("The certificate of %(server)s expires on %(date)s") % values,
        (
            _(
                "“%(name)s” sends through this server. After that day, no email can be sent "
                "through it until the certificate is renewed."
            )
            % values,
            _(
                "If the server is yours, renew its certificate, or check why that doesn't happen "
                "automatically. Otherwise tell its operator. Nothing has to be changed in the "
                "settings."
            ),
            _(
                "To see which certificate the server has now: “Email → SMTP settings”, “%s”, "
                "“Test only”."
            )
            % each.name,
        ),
    )


def _consent(each: expiry.Expiry) -> tuple[str, tuple[str, ...]]:
    values = {"date": shown_date(each.at), "name": each.name}
    return (
        _("The consent for “%(name)s” ends on %(date)s") % values,
        (
            _(
                "The identity provider lets “%(name)s” send email until then. After that, no email "
                "can be sent through it."
            )
            % values,
            _(
                "Open the set, choose “Connect” and give consent again. With Google, a consent "
                "ends after seven days while the app's publishing status is “Testing”."
            ),
            where(each.name),
        ),
    )


def _client_secret(each: expiry.Expiry) -> tuple[str, tuple[str, ...]]:
    values = {"date": shown_date(each.at), "name": each.name}
    return (
        _("The client secret of “%(name)s” expires on %(date)s") % values,
        (
            _("From then on, “%(name)s” gets no access token, and no email can be sent through it.")
            % values,
            _(
                "Create a new client secret at the identity provider. Then enter it in the set, "
                "with its date, save and reload."
            ),
            where(each.name),
        ),
    )


_EXPIRY = {"certificate": _certificate, "consent": _consent, "secret": _client_secret}
