"""Leave out recipients that are on the suppression list.

It is read when a message is sent, so an address that was suppressed while the message waited in the
outbox doesn't get it. A redirected message reaches none of its recipients, so it isn't checked.
"""

import logging
from collections.abc import Collection, Mapping
from functools import partial

from django.core.mail import EmailMessage
from django.db import Error
from django.utils.translation import gettext as _

from wagtail_smtp import suppression
from wagtail_smtp.delivery.routing import Route
from wagtail_smtp.exceptions import RecipientsSuppressed
from wagtail_smtp.live.lookup import read
from wagtail_smtp.runtime import project

logger = logging.getLogger(__name__)

#: Attributes with values for each recipient, by address.
_BY_RECIPIENT = ("merge_data", "merge_metadata", "merge_headers")


def suppressed_recipients(message: EmailMessage, route: Route) -> Mapping[str, str]:
    """Return the message's recipients on the list, normalised, with the reason as text.

    If the list can't be read, the message is sent to all: without a database, email is sent too.
    """
    if route.redirect is not None or route.category in suppression.NEVER:
        return {}
    addresses = [str(address) for address in message.recipients()]
    try:
        rows = read(lambda: suppression.find(addresses))
    except (Error, TimeoutError):
        logger.warning("The suppression list can't be read, so it is ignored.", exc_info=True)
        return {}
    if not rows:
        return {}
    with project.in_site_language():
        return {
            suppression.normalize(address): str(row.get_reason_display())
            for address, row in rows.items()
        }


def require_others(
    message: EmailMessage, suppressed: Collection[str], leave_out: Collection[str]
) -> None:
    """Check that the message has recipients who are to get it.

    Args:
        suppressed: as in :func:`suppressed_recipients`.
        leave_out: addresses in lower case that have it already.

    Raises:
        RecipientsSuppressed: in the site's language, because its administrators read it.
    """
    addresses = (suppression.normalize(str(address)) for address in message.recipients())
    if all(address in suppressed or address in leave_out for address in addresses):
        with project.in_site_language():
            raise RecipientsSuppressed(_("All recipients are on the suppression list."))


def without(message: EmailMessage, suppressed: Collection[str]) -> None:
    """Remove recipients from a copy of a message, for a backend that reads them from it.

    Args:
        suppressed: normalised addresses.
    """

    def is_kept(address: object) -> bool:
        return suppression.normalize(str(address)) not in suppressed

    for name in ("to", "cc", "bcc"):
        setattr(message, name, list(filter(is_kept, getattr(message, name))))
    if not message.to and message.cc:
        # Most email providers require a recipient in To.
        message.to, message.cc = message.cc, []
    for name in _BY_RECIPIENT:
        values = getattr(message, name, None)
        if isinstance(values, Mapping):
            setattr(message, name, {key: values[key] for key in values if is_kept(key)})
    recipients = message.recipients()
    kept = list(filter(is_kept, recipients))
    if len(kept) < len(recipients):
        # Its class adds recipients. Not a lambda, because some backends pickle messages.
        vars(message)["recipients"] = partial(list, kept)
