"""Models: settings, secrets, live versions, the delivery log and the outbox."""

from wagtail_smtp.models.configuration import ConfigurationVersion, DeliverySettings, ReportEmail
from wagtail_smtp.models.log import (
    DeliveryEvent,
    LogAttempt,
    LogEntry,
    LogRecipient,
    StoredMessage,
    StoredPiece,
)
from wagtail_smtp.models.outbox import OutboxMessage
from wagtail_smtp.models.secret import OAuthToken, Secret
from wagtail_smtp.models.settings_set import SettingsSet

__all__ = [
    "ConfigurationVersion",
    "DeliveryEvent",
    "DeliverySettings",
    "LogAttempt",
    "LogEntry",
    "LogRecipient",
    "OAuthToken",
    "OutboxMessage",
    "ReportEmail",
    "Secret",
    "SettingsSet",
    "StoredMessage",
    "StoredPiece",
]
