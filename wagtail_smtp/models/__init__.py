"""Models: settings, secrets, live versions, the delivery log, the outbox,
alerts and the suppression list."""

from wagtail_smtp.models.alert import Alert, Told
from wagtail_smtp.models.bounces import BounceSource
from wagtail_smtp.models.certificate import ServerCertificate
from wagtail_smtp.models.configuration import (
    ConfigurationVersion,
    DeliverySettings,
    ReportEmail,
    SiteSender,
)
from wagtail_smtp.models.log import (
    DeliveryEvent,
    LogAttempt,
    LogEntry,
    LogRecipient,
    StoredMessage,
    StoredPiece,
)
from wagtail_smtp.models.outbox import OutboxMessage
from wagtail_smtp.models.periodic import PeriodicRun
from wagtail_smtp.models.secret import OAuthToken, ReferenceUse, Secret
from wagtail_smtp.models.settings_set import SettingsSet
from wagtail_smtp.models.summary import SummarySubscription
from wagtail_smtp.models.suppression import SuppressedAddress, SuppressionReason
from wagtail_smtp.models.usage import SetUsage

__all__ = [
    "Alert",
    "BounceSource",
    "ConfigurationVersion",
    "DeliveryEvent",
    "DeliverySettings",
    "LogAttempt",
    "LogEntry",
    "LogRecipient",
    "OAuthToken",
    "OutboxMessage",
    "PeriodicRun",
    "ReferenceUse",
    "ReportEmail",
    "Secret",
    "ServerCertificate",
    "SetUsage",
    "SettingsSet",
    "SiteSender",
    "StoredMessage",
    "StoredPiece",
    "SummarySubscription",
    "SuppressedAddress",
    "SuppressionReason",
    "Told",
]
