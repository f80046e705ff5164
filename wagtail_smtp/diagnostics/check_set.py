"""Check a settings set stage by stage and explain the stage that fails, or send a test email."""

import logging
import uuid
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import make_msgid
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.utils import DNS_NAME
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp import signals, suppression
from wagtail_smtp.categories import TEST
from wagtail_smtp.causes import explain
from wagtail_smtp.causes.base import Cause, Failure
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_address, effective_sender
from wagtail_smtp.config.values import Configuration, Problem, SettingsSetConfig, TransportConfig
from wagtail_smtp.delivery.log import entries as log_entries
from wagtail_smtp.delivery.outgoing import build_outgoing, prepare
from wagtail_smtp.delivery.routing import Redirect, redirect_for
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    DestinationRefused,
    EnvironmentMismatch,
    RecipientsSuppressed,
)
from wagtail_smtp.live import consents, current, environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.diff import every_kind
from wagtail_smtp.live.resolve import (
    mailbox_config,
    transport_class,
    transport_config,
    transport_of,
)
from wagtail_smtp.models import LogEntry, ReportEmail, SettingsSet
from wagtail_smtp.transports.base import OutgoingMessage, Stage
from wagtail_smtp.transports.esp.catalog import ESPConfig
from wagtail_smtp.transports.imap import check_mailbox

#: Labels of the stages.
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
    "mailbox": gettext_lazy("Bounce mailbox"),
}
#: Results of the fast sending check.
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
        "Not used because the server didn't answer all of the commands sent together"
    ),
}
#: What a check proves if no email is sent.
CONNECTED = gettext_lazy(
    "The server accepted the login and the sender. Send a test email to check that it delivers."
)
NOT_ASKED = gettext_lazy(
    "The server can be reached. The sender was not checked, because neither this settings set nor "
    "the project's settings have a valid sender address."
)
KEY_NOT_CHECKED = gettext_lazy(
    "The email provider can be reached. Send a test email to check the key."
)
_ALLOWED = gettext_lazy("Permission to connect")


@dataclass(frozen=True, slots=True)
class StageResult:
    """A stage, and its cause if it failed."""

    stage: Stage
    cause: Cause | None = None

    @property
    def label(self) -> Any:
        """The stage's name in the interface."""
        if self.stage.name == "resolve" and isinstance(self.stage.error, DestinationRefused):
            return _ALLOWED  # the name was resolved, but the address is not allowed
        return LABELS[self.stage.name]


@sensitive_variables()
def try_set(item: SettingsSet, address: str | None = None) -> Iterator[StageResult]:
    """Check the server of a stored set with its current values, live or not.

    Args:
        address: the recipient of a test email; None sends none.

    Raises:
        SecretError: the password can't be used.
        EnvironmentMismatch: the live version comes from another environment, and the test would
            send an email or renew that environment's token.
        RedirectError: a redirect is on but has no valid address.
        RecipientsSuppressed: the address gets no email.
    """
    config = item.frozen(ReportEmail.objects.filter(settings_set=item))
    consents.require_own(config)
    server = transport_config(config, item.secret, is_test=True)
    message = None
    if address is not None:
        message = build_test_message(config, server.username, address, redirect_for_test(config))
    return try_server(config, server, message)


@sensitive_variables()
def try_server(
    item: SettingsSetConfig,
    server: TransportConfig | ESPConfig,
    message: OutgoingMessage | None = None,
) -> Iterator[StageResult]:
    """Check the server of a set given as plain values, stored or not.

    Args:
        message: the test email, from :func:`build_test_message`; None sends none.
    """
    sender = message.envelope.sender if message else envelope_sender(item, server.username)
    has_failed = False
    with closing(transport_of(server)) as transport:
        for stage in transport.check(sender, message):
            has_failed = stage.error is not None
            yield _result(stage, item, server)
    if item.mailbox_host and isinstance(server, TransportConfig) and not has_failed:
        mailbox = mailbox_config(item, server)
        yield _result(check_mailbox(mailbox, item.mailbox_folder), item, mailbox)


def _result(
    stage: Stage, item: SettingsSetConfig, server: TransportConfig | ESPConfig
) -> StageResult:
    if stage.error is None:
        return StageResult(stage)
    failure = Failure.of(
        stage.error,
        server.host,
        server.port,
        server.encryption,
        uses_esp=item.uses_esp,
        uses_oauth=server.tokens is not None,
        is_mailbox=stage.name == "mailbox",
    )
    return StageResult(stage, explain(failure))


def proved(item: SettingsSetConfig, reached: Collection[str]) -> str:
    """What a successful check without a test email has proved.

    Args:
        reached: the names of its stages.
    """
    if not transport_class(item).supports_login_check:
        return str(KEY_NOT_CHECKED)
    return str(CONNECTED if "sender" in reached else NOT_ASKED)


def envelope_sender(item: SettingsSetConfig, username: str) -> str:
    """The envelope sender for messages that set none; empty if it isn't valid."""
    message = EmailMessage("", "", None, ["someone@example.com"])
    try:
        outgoing = _built(message, item, username, None)
    except ValueError:
        return ""
    return outgoing.envelope.sender


def redirect_for_test(item: SettingsSetConfig) -> Redirect | None:
    """The redirect that applies to a test email of this set; None if there is none.

    It comes from the set itself, from the live configuration or from the project's settings.

    Raises:
        EnvironmentMismatch: the live version comes from another environment, so nothing is sent.
        RedirectError: a redirect is on but has no valid address.
    """
    live = current()
    if environments.is_holding(live.held_from):
        raise EnvironmentMismatch(environments.held_text(live.held_from))
    # Both look-ups include a redirect forced by the settings.
    redirect = redirect_for(Configuration(sets=(item,)), TEST)
    return redirect or redirect_for(live.configuration, TEST)


def build_test_message(
    item: SettingsSetConfig, username: str, address: str, redirect: Redirect | None
) -> OutgoingMessage:
    """The test email as the set would send it; ``redirect`` is from :func:`redirect_for_test`.

    Raises:
        RecipientsSuppressed: the address gets no email; in the reader's language.
    """
    if redirect is None and suppression.is_suppressed(address):
        text = _("%s is suppressed, so it gets no test email. Enter another address.")
        raise RecipientsSuppressed(text % address)
    message = EmailMessage(
        _("Test email"),
        _("This is a test email of the settings set “%s”.") % item.name,
        None,
        [address],
    )
    return _built(message, item, username, redirect)


def _built(
    message: EmailMessage, item: SettingsSetConfig, username: str, redirect: Redirect | None
) -> OutgoingMessage:
    """The message as the set sends it, with the key of an entry that doesn't exist."""
    return build_outgoing(
        prepare(message),
        item,
        transport_class(item),
        redirect,
        username=username,
        key=str(uuid.uuid4()),
    )


def sender_hints(configuration: Configuration) -> tuple[Problem, ...]:
    """Hints about the senders of backups, each with its set and field.

    They don't prevent a reload, because both domains may be set up correctly.
    """
    found: dict[str, Problem] = {}
    for category, site in every_kind(configuration):
        if category in conf.STANDARD_CATEGORIES:
            continue
        carriers = [item.for_site(site) for item in configuration.carriers(category, site)]
        first, *backups = carriers or (None,)
        for backup in backups:
            if first is not None and _is_foreign(_domain(first), _domain(backup)):
                found.setdefault(backup.key, _hint(first, backup))
    return tuple(found[item.key] for item in configuration.sets if item.key in found)


def _domain(item: SettingsSetConfig) -> str:
    """The domain a set sends from; empty if the message decides it."""
    try:
        return ascii_address(effective_sender(item)).rpartition("@")[2].lower()
    except ValueError:
        return ""


def _is_foreign(one: str, other: str) -> bool:
    # DMARC (RFC 7489 3.1.1) compares organisational domains. Without a list of public suffixes,
    # treat domains as related if they are equal or one is a subdomain of the other.
    if not one or not other or one == other:
        return False
    return not (one.endswith(f".{other}") or other.endswith(f".{one}"))


def _hint(first: SettingsSetConfig, backup: SettingsSetConfig) -> Problem:
    text = gettext_lazy(
        "This backup sends from %(domain)s, but the set it replaces, “%(first)s”, sends from "
        "%(first_domain)s. Recipients then see a different sender. Email may be treated as spam "
        "unless SPF, DKIM and DMARC for %(domain)s allow this server. If this server may send for "
        "%(first_domain)s, enter a sender address from that domain."
    ) % {"domain": _domain(backup), "first": first.name, "first_domain": _domain(first)}
    return Problem(text, "sender_address", backup.name)


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmailTestResult:
    """The outcome of a test email.

    Attributes:
        entry: its log entry; None if the log could not be written, or if the project's email
            doesn't go through the plugin.
        reason: why it was not sent; empty if it was sent or is queued.
    """

    entry: LogEntry | None
    reason: str = field(default="", repr=False)

    @property
    def is_waiting(self) -> bool:
        """Whether the message is still in the outbox."""
        return self.entry is not None and not self.entry.is_final


def why_held(category: str) -> str:
    """Why email of ``category`` is held in a copied database; empty if it isn't."""
    try:
        held_from = current().held_from
    except (ConfigurationUnavailable, ImproperlyConfigured):
        return ""  # sending reports it
    return environments.held_text(held_from) if environments.holds(held_from, category) else ""


def send_test_email(address: str, category: str = TEST) -> EmailTestResult:
    """Send a test email as any other email is sent. Sending errors are returned, not raised.

    Args:
        category: the category to mark the message with.
    """
    if reason := why_held(category):
        # With queued delivery too: the outbox would send it after a reload.
        return EmailTestResult(None, reason)
    message = EmailMessage(
        _("Test email"),
        _("This is a test email from %(site)s. It was sent exactly as email in the category "
          "“%(category)s” is sent.")
        % {"site": getattr(settings, "WAGTAIL_SITE_NAME", ""), "category": category},
        None,
        [address],
        # Used to find the log entry.
        headers={"Message-ID": make_msgid(domain=str(DNS_NAME))},
    )  # fmt: skip
    message.email_category = category  # type: ignore[attr-defined]
    entries = LogEntry.objects.using(write_alias())
    before = entries.order_by("-pk").values_list("pk", flat=True).first() or 0
    raised = ""
    with _listening_for(message) as heard:
        try:
            message.send()
        except Exception as error:  # a project's own backend can raise anything
            # The text may contain what the server echoed, such as a password.
            raised = type(error).__name__
            if not heard:  # otherwise the delivery has logged it
                logger.warning("A test email could not be sent: %s", raised)
    # No signal is sent for a queued message.
    own = entries.filter(pk__gt=before, message_id=message.extra_headers["Message-ID"])
    last = heard[-1] if heard else EmailTestResult(None)
    return EmailTestResult(last.entry or own.first(), last.reason or raised)


@contextmanager
def _listening_for(message: EmailMessage) -> Iterator[list[EmailTestResult]]:
    """Collect what the signals report about ``message``; other threads may send meanwhile."""
    heard: list[EmailTestResult] = []

    def receive(**values: Any) -> None:
        sent = values["message"].extra_headers.get("Message-ID")
        if sent == message.extra_headers["Message-ID"]:
            entry, error = values["entry"], values.get("error")
            reason = ""
            if error is not None:
                reason = (entry and entry.reason) or log_entries.error_text(error)
            heard.append(EmailTestResult(entry, reason))

    both = (signals.message_sent, signals.message_failed)
    for signal in both:
        signal.connect(receive, weak=False)
    try:
        yield heard
    finally:
        for signal in both:
            signal.disconnect(receive)
