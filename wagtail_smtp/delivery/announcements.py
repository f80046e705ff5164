"""Announce the result of a delivery: log lines, signals, and an email if it is too large."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp import alerts, signals
from wagtail_smtp.categories import ALERT, SECURITY
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery.log import hard_bounces
from wagtail_smtp.delivery.log.entries import clip
from wagtail_smtp.delivery.outgoing import MEGABYTE, attachments
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import MessageTooLarge
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.runtime import error_logging, project
from wagtail_smtp.runtime.project import address_of

logger = logging.getLogger(__name__)

#: Maximum number of recipients, and of attachments, that the email lists.
_LISTED = 20


def announce(delivery: DeliveryResult, entry: LogEntry | None) -> None:
    """Log the result of a delivery, suppress addresses that don't exist, and send its signal.

    Call this once its entry is written.
    """
    hard_bounces.after_delivery(delivery, entry)
    message = delivery.message
    values: dict[str, Any] = {
        "message": message,
        "category": delivery.classification.category,
        "route": delivery.route,
        "attempts": delivery.attempts,
        "entry": entry,
    }
    if delivery.outcome is None:
        failure = delivery.failure
        logger.info("Message of category %s not sent: %r", values["category"], type(failure))
        signals.send_robustly(signals.message_failed, type(message), error=failure, **values)
        report_too_large(delivery, entry)
        return
    for item in delivery.outcome.not_sent:
        logger.warning(
            "%s accepted the message, but not for %s: %s %s",
            delivery.outcome.via,
            item.address,
            item.code,
            item.reply,
        )
    signals.send_robustly(signals.message_sent, type(message), outcome=delivery.outcome, **values)


def report_too_large(result: DeliveryResult, entry: LogEntry | None) -> None:
    """Email about a message that is too large, because its sender gets no error. Never raises.

    Alerts are not reported, because the report would be another alert.
    """
    if entry is None or entry.state != State.TOO_LARGE or result.classification.category == ALERT:
        return
    if entry.is_stored is False:
        return  # the sender gets the error
    # A queued message is stored already, and is kept unless it is a security message.
    is_kept = entry.category != SECURITY
    try:
        item = _set_of(result)
        to, language = None, settings.LANGUAGE_CODE
        if item and item.notify_user is not None:
            to, language = _person(item.notify_user)
        with translation.override(language):
            subject = _("Email too large: “%s”") % clip(entry.subject, 100)
            body = "\n\n".join(_text(result, entry, item, is_kept))
        alerts.too_large(to, subject, body)
    except Exception:
        error_logging.failure(
            logger,
            "No one could be notified that the message of log entry %s is too large",
            entry.pk,
        )


def _set_of(result: DeliveryResult) -> SettingsSetConfig | None:
    """The first set that the message was too large for."""
    sets = {item.key: item for item in result.route.candidates}
    for attempt in result.attempts:
        if isinstance(attempt.error, MessageTooLarge):
            return sets.get(attempt.key)
    return None


def _text(
    result: DeliveryResult, entry: LogEntry, item: SettingsSetConfig | None, is_kept: bool
) -> Iterator[str]:
    if item:
        text = _("A message was not sent because it is too large for “%(name)s”.")
        yield text % {"name": item.name}
    else:
        yield _("A message was not sent because it is too large for the server.")
    if is_kept:
        yield _(
            "It is kept in the delivery log, where you can download its attachments and pass them "
            "on yourself. It will not be resent automatically."
        )
    else:
        yield _("It is not kept, because security messages are never shown.")
    message = result.outgoing
    recipients: Sequence[str] = message.envelope.recipients if message else ()
    yield _("Subject: %s") % entry.subject
    yield _("Recipients: %s") % _some([clip(address) for address in recipients])
    sizes = attachments(message.content) if message else ()
    unnamed = _("no name")
    yield _("Attachments (size in the email): %s") % _some(
        [f"{clip(name, 100) or unnamed} ({_megabytes(size)})" for name, size in sizes]
    )
    yield str(result.failure)
    yield _link(entry)


def _some(items: Sequence[str]) -> str:
    named = ", ".join(items[:_LISTED]) or "–"
    more = len(items) - _LISTED
    return named if more <= 0 else named + " " + ngettext("and %d more", "and %d more", more) % more


def _megabytes(size: int) -> str:
    # number_format() would cut digits off.
    return f"{number_format(round(size / MEGABYTE, 1), 1)} MB"


def _link(entry: LogEntry) -> str:
    """The address of the log entry in the admin."""
    base = str(getattr(settings, "WAGTAILADMIN_BASE_URL", "") or "").rstrip("/")
    try:
        path = reverse("wagtail_smtp_log:entry", args=[entry.pk])
    except NoReverseMatch:
        base = ""
    if not base:
        return _("See entry %d of the delivery log.") % entry.pk
    return base + path


def _person(user: int | str) -> tuple[str | None, str]:
    """Email address and language of a user; None and the site's language if it can't be emailed."""
    no_one = None, settings.LANGUAGE_CODE

    def find() -> tuple[str | None, str]:
        found = get_user_model()._default_manager.filter(pk=user).first()
        if found is None or not found.is_active:
            return no_one
        address = address_of(found)
        return (address, project.language_of(found)) if address else no_one

    alias = connections.write_alias()
    try:
        with transaction.atomic(using=alias):
            return find()
    except Exception:
        # The transaction is broken, or this thread has an event loop, where Django refuses.
        logger.debug("The caller's database connection can't be used.", exc_info=True)
    try:
        return autonomous.write(find, alias)
    except Exception:
        error_logging.failure(
            logger, "The user to notify about messages that are too large could not be looked up."
        )
        return no_one
