"""The channels of this site: email to ADMINS, and each URL in ``WAGTAIL_SMTP["ALERTS"]``."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.alerts import AlertKind, email
from wagtail_smtp.alerts.kinds import NOT_BY_EMAIL
from wagtail_smtp.channels import chat, services
from wagtail_smtp.conf import conf
from wagtail_smtp.models import Alert, Told
from wagtail_smtp.runtime import error_logging

logger = logging.getLogger(__name__)

#: The name of the channel to ADMINS.
EMAIL = "email"
#: The reason if a channel's URL can't be used.
INVALID_URL = "invalid URL"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel.

    Attributes:
        name: unique, and without secrets: ``slack``, ``slack-2``.
        label: for people.
        number: of this service's URLs, this is the n-th; 1 if it is the only one.
    """

    name: str
    label: str
    number: int = 1
    url: str = field(default="", repr=False)

    @property
    def is_email(self) -> bool:
        """Whether this is email to ADMINS."""
        return not self.url

    def gets(self, kind: str) -> bool:
        """Whether alerts of this kind are sent to this channel."""
        return not (self.is_email and kind in NOT_BY_EMAIL)

    def deliver(self, alert: Alert) -> tuple[Told, str]:
        """Send an alert; return the outcome and a short reason. Never raises, logs no URL."""
        try:
            if self.is_email:
                subject = alert.subject
                email.build(subject, alert.text, email.admins(), alert.not_through).send()
            else:
                chat.send(self.url, alert.kind, f"{_site()}{alert.subject}", alert.text)
        except chat.TimedOut:
            return Told.UNKNOWN, ""
        except chat.InvalidURL as error:
            logger.warning("An alert could not be sent to %s: %s", self.name, error)
            return Told.FAILED, INVALID_URL
        except chat.NotSent as error:
            logger.warning("An alert could not be sent to %s: %s", self.name, error)
            return Told.FAILED, str(error)[:100]
        except Exception as error:
            if not self.is_email:
                # Neither its text nor its traceback: they may contain the URL.
                logger.warning("An alert could not be sent to %s: %s", self.name, type(error))
                return Told.FAILED, type(error).__name__
            error_logging.failure(logger, "An alert could not be sent: %s", alert.subject)
            return Told.FAILED, ""
        return Told.SENT, ""


def _site() -> str:
    """The name of the site, and of the environment: a channel may have alerts of several."""
    names = [str(getattr(settings, "WAGTAIL_SITE_NAME", "") or ""), conf.environment()]
    return "".join(f"{name}: " for name in names if name)


def channels() -> list[Channel]:
    """All channels, email first if there are ADMINS."""
    return [*_email(), *_chat()]


def has_chat() -> bool:
    """Whether there is a channel besides email."""
    return bool(_urls())


def _urls() -> tuple[str, ...]:
    """The URLs of the channels; none if the setting is wrong, so that ADMINS still get email."""
    try:
        return conf.alert_urls()
    except ImproperlyConfigured:  # a check reports it
        return ()


def _email() -> Iterator[Channel]:
    if email.admins():
        yield Channel(EMAIL, str(_("Email to ADMINS")))


def _chat() -> Iterator[Channel]:
    counts: Counter[str] = Counter()
    for url in _urls():
        service = services.service_of(url)
        # What isn't allowed is shown and fails, so that it isn't overlooked.
        name = service.module.partition(".")[0] if service else services.scheme(url) or "unknown"
        counts[name] += 1
        number = counts[name]
        label = service.label if service else name
        yield Channel(
            name if number == 1 else f"{name}-{number}",
            label if number == 1 else f"{label} ({number})",
            number,
            url,
        )


def label_of(name: str) -> str:
    """Return the label of a channel that may no longer exist."""
    if name == EMAIL:
        return str(_("Email to ADMINS"))
    base, _separator, number = name.partition("-")
    labels = {each.module.partition(".")[0]: each.label for each in services.SERVICES}
    label = labels.get(base, base)
    return f"{label} ({number})" if number else label


def wants(kind: AlertKind) -> bool:
    """Whether an alert of this kind is worth a row: those for channels only, if there are any."""
    return kind not in NOT_BY_EMAIL or has_chat()
