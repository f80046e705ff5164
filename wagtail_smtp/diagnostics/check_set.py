"""Testing a settings set as it stands: the stages of its server, each failure with its remedy."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.core.mail import EmailMessage
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.categories import TEST
from wagtail_smtp.config.values import Configuration, SettingsSetConfig, TransportConfig
from wagtail_smtp.delivery.outgoing import prepare, shape
from wagtail_smtp.delivery.redirect import require_held
from wagtail_smtp.delivery.routing import Redirect, redirect_for
from wagtail_smtp.diagnostics.causes.base import Cause, Failure
from wagtail_smtp.diagnostics.explain import explain
from wagtail_smtp.exceptions import DestinationRefused
from wagtail_smtp.live import current
from wagtail_smtp.live.resolve import transport_config
from wagtail_smtp.models import ReportEmail, SettingsSet
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.check import check_esp
from wagtail_smtp.transports.esp.config import ESPConfig
from wagtail_smtp.transports.smtp.check import Stage, check

#: The stages as people read them.
LABELS = {
    "resolve": gettext_lazy("Name resolution"),
    "connect": gettext_lazy("Connection"),
    "tls": gettext_lazy("Encryption"),
    "greeting": gettext_lazy("Greeting"),
    "auth": gettext_lazy("Authentication"),
    "fast": gettext_lazy("Fast sending"),
    "sender": gettext_lazy("Sender accepted"),
    "recipient": gettext_lazy("Recipient accepted"),
    "message": gettext_lazy("Message accepted"),
}
#: What was found out about fast sending.
FAST = {
    "yes": gettext_lazy("Supported"),
    "partly": gettext_lazy("Supported, except CHUNKING"),
    "not offered": gettext_lazy("Not used because the server doesn't offer PIPELINING"),
    "ignored": gettext_lazy("Not used because this set ignores PIPELINING"),
    "refused": gettext_lazy(
        "Not used because the server offers PIPELINING but answered commands sent together "
        "incorrectly"
    ),
    "closed": gettext_lazy(
        "Not used because the server closed the connection when commands were sent together"
    ),
    "silent": gettext_lazy(
        "Not used because the server did not answer all of the commands sent together"
    ),
}
#: What a test without an email proves.
CONNECTED = gettext_lazy(
    "The server lets this site in and accepts the sender. Only a test email shows whether it "
    "sends to others."
)
NOT_ASKED = gettext_lazy(
    "The server can be reached. Not tested: whether it accepts the sender, since neither the set "
    "nor the project's settings have a valid sender address."
)
_ALLOWED = gettext_lazy("Permission to connect")


@dataclass(frozen=True, slots=True)
class Report:
    """A stage, and if it failed the cause with its remedy."""

    stage: Stage
    cause: Cause | None = None

    @property
    def label(self) -> Any:
        """What the stage is called."""
        if self.stage.name == "resolve" and isinstance(self.stage.error, DestinationRefused):
            return _ALLOWED  # its name was found
        return LABELS[self.stage.name]


@sensitive_variables()
def try_set(item: SettingsSet, address: str | None = None) -> Iterator[Report]:
    """Try the server of a stored set as it stands, live or not.

    Args:
        address: who gets a test email; None: none is sent.

    Raises:
        SecretError: the password can't be used.
        RedirectError: mail is redirected, but to no usable address.
    """
    config = item.frozen(ReportEmail.objects.filter(settings_set=item))
    server = transport_config(config, item.secret, is_test=True)
    letter = None
    if address is not None:
        letter = letter_for(config, server.username, address, redirect_of(config))
    return try_server(config, server, letter)


@sensitive_variables()
def try_server(
    item: SettingsSetConfig,
    server: TransportConfig | ESPConfig,
    letter: OutgoingMessage | None = None,
) -> Iterator[Report]:
    """Try the server of a set that is given as plain values, stored or not.

    Args:
        letter: the test email, from :func:`letter_for`; None: none is sent.
    """
    sender = letter.envelope.sender if letter else sender_of(item, server.username)
    for stage in _stages(server, sender, letter):
        if stage.name == "sender" and not item.is_provider:
            stage = replace(stage, details={**stage.details, "sender": sender})
        if stage.error is None:
            yield Report(stage)
        else:
            failure = Failure.of(stage.error, server.host, server.port, server.security)
            by_token = isinstance(server, TransportConfig) and server.tokens is not None
            failure = replace(failure, is_provider=item.is_provider, by_token=by_token)
            yield Report(stage, explain(failure))


@sensitive_variables()
def _stages(
    server: TransportConfig | ESPConfig, sender: str, letter: OutgoingMessage | None
) -> Iterator[Stage]:
    if isinstance(server, ESPConfig):
        return check_esp(server, letter)
    return check(server, sender, letter)


def sender_of(item: SettingsSetConfig, username: str) -> str:
    """The envelope sender of mail that brings none of its own; empty if it isn't valid."""
    message = EmailMessage("", "", None, ["someone@example.com"])
    try:
        return shape(prepare(message), item, None, username)[1].sender
    except ValueError:
        return ""


def redirect_of(item: SettingsSetConfig) -> Redirect | None:
    """Who gets a test email of this set instead: the set, what is live, or the settings say so.

    Raises:
        RedirectError: one of them does, but names no usable address.
    """
    # A redirect that the settings force is in both.
    typed = redirect_for(Configuration(sets=(item,)), TEST)
    return typed or redirect_for(current().configuration, TEST)


def letter_for(
    item: SettingsSetConfig, username: str, address: str, redirect: Redirect | None
) -> OutgoingMessage:
    """The test email to ``address`` as the set would send it, redirected as :func:`redirect_of`
    says."""
    message = EmailMessage(
        _("Test email"),
        _("This is a test email of the settings set “%s”.") % item.name,
        None,
        [address],
    )
    shaped, envelope = shape(prepare(message), item, redirect, username)
    hold = partial(require_held, redirect=redirect) if redirect is not None else None
    return OutgoingMessage(shaped, envelope, hold)
