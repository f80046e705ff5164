"""What the project's settings and environment variables decide, so that the admin can't."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.channels.channel import channels
from wagtail_smtp.conf import conf
from wagtail_smtp.transports import standard


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision for people.

    Attributes:
        source: the environment variable or setting that decides.
        is_default: whether the project doesn't set it.
    """

    name: str
    value: str
    source: str
    is_default: bool


def decisions() -> tuple[Decision, ...]:
    """List everything that is decided outside of the admin. There are no secrets in it."""
    return tuple(_decision(key, name, show) for key, name, show in _rows())


def _decision(key: str, name: str, show: Callable[[], Any]) -> Decision:
    try:
        value = str(show() or _("none"))
    except ImproperlyConfigured as error:  # the system checks report it
        value = str(error)
    source = conf.source(key)
    if key == "STANDARD" and conf.given().get(key) is None:
        source = "MAILERS" if standard.uses_mailers() else "EMAIL_HOST, EMAIL_*"
    is_setting = source.startswith("WAGTAIL_SMTP[")
    return Decision(name, value, source, is_setting and key not in conf.given())


def _rows() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Yield each key with its label and a function that returns the value to show."""
    yield "ENVIRONMENT", _("Environment"), conf.environment
    yield "REDIRECT_ALL_TO", _("Redirect of all email"), _redirect
    yield "DELIVERY", _("Delivery"), _delivery
    yield "STANDARD", _("Standard delivery"), standard.description
    yield (
        "STANDARD_CATEGORIES",
        _("Categories that always use standard delivery"),
        lambda: _listed(sorted(conf.STANDARD_CATEGORIES)),
    )
    yield (
        "STANDARD_CATEGORIES_IN_COPY",
        _("Categories that are sent from a copied database"),
        lambda: _listed(sorted(conf.STANDARD_CATEGORIES_IN_COPY)),
    )
    yield (
        "FALLBACK_TO_STANDARD",
        _("Standard delivery as the last backup"),
        lambda: _yes_or_no(conf.FALLBACK_TO_STANDARD),
    )
    yield "ALERTS", _("Channels for alerts"), _channels
    yield "ALERTS_OFF", _("Alerts that are turned off"), _alerts_off
    yield "SETS_FILE", _("File with managed settings sets"), lambda: conf.SETS_FILE
    yield (
        "SECRET_VARIABLES",
        _("Environment variables for passwords"),
        lambda: _listed(conf.SECRET_VARIABLES),
    )
    yield (
        "SECRET_DIRECTORIES",
        _("Directories for passwords"),
        lambda: _listed(conf.SECRET_DIRECTORIES),
    )
    yield "STORE_MESSAGES", _("Stored messages"), _stored
    yield "KEEP_LOG_DAYS", _("Log entries are kept"), lambda: _days(conf.KEEP_LOG_DAYS)
    yield "KEEP_MESSAGES_DAYS", _("Messages are kept"), lambda: _days(conf.KEEP_MESSAGES_DAYS)
    yield (
        "ALLOW_PLAINTEXT_AUTH",
        _("Login to other machines without encryption"),
        lambda: _yes_or_no(conf.ALLOW_PLAINTEXT_AUTH),
    )
    yield (
        "ALLOWED_NETWORKS",
        _("Internal networks that may be reached"),
        lambda: _listed(map(str, conf.ALLOWED_NETWORKS)),
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values)


def _redirect() -> str:
    forced = conf.forced_redirect()
    # Without an address, it blocks all email.
    return _("no") if forced is None else _listed(forced) or _("no address: no email is sent")


def _channels() -> str:
    """Only labels: the URLs are secrets."""
    return _listed(channel.label for channel in channels() if not channel.is_email)


def _alerts_off() -> str:
    labels = dict(AlertKind.choices)
    return _listed(str(labels.get(kind, kind)) for kind in conf.ALERTS_OFF)


def _delivery() -> str:
    is_queued = conf.DELIVERY == "queued"
    return _("through the outbox") if is_queued else _("immediately")


def _stored() -> str:
    return {
        "undelivered": _("those that were not delivered"),
        "all": _("all, except security email"),
        "none": _("only those that wait or are too large"),
    }[conf.STORE_MESSAGES]


def _days(number: float) -> str:
    return ngettext("%(n)g day", "%(n)g days", int(number)) % {"n": number}


def _yes_or_no(value: bool) -> str:
    return _("yes") if value else _("no")
