"""The kinds of alerts."""

from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _


class AlertKind(models.TextChoices, StrEnum):  # type: ignore[misc]
    """What an alert is about. ``WAGTAIL_SMTP["ALERTS_OFF"]`` turns kinds off."""

    FAILING = "failing", _("A server is failing")
    FAILOVER = "failover", _("A backup is used")
    RECOVERED = "recovered", _("A server is working again")
    GIVEN_UP = "given_up", _("The outbox gave up on a message")
    WAITING = "waiting", _("The outbox is not being processed")
    EXPIRING = "expiring", _("Something is about to expire")
    REFUSALS = "refusals", _("Unusually many refusals")
    BOUNCES = "bounces", _("Bounces are not being read")
    LIMIT = "limit", _("A sending limit is reached, or nearly")
    LIVE = "live", _("Settings were made live")
    REDIRECT = "redirect", _("Email is still redirected")
    STORE = "store", _("The message store is filling up")
    #: Sent by a person, so it can't be turned off.
    TEST = "test", _("Test alert")


#: The kinds that can be turned off.
OPTIONAL = frozenset(AlertKind) - {AlertKind.TEST}
#: The kinds that only go to channels: ADMINS reload the application themselves, and see versions
#: in the admin.
NOT_BY_EMAIL = frozenset({AlertKind.LIVE})
