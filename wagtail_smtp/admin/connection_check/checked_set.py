"""What is tested: a set as it is stored or typed, with its password, and a test email or none."""

from dataclasses import dataclass, field, replace

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp.config.values import SettingsSetConfig, TransportConfig
from wagtail_smtp.delivery.routing import FORCED
from wagtail_smtp.diagnostics.check_set import (
    build_test_message,
    proved,
    redirect_for_test,
    sender_hints,
    try_server,
)
from wagtail_smtp.live import draft_configuration
from wagtail_smtp.live.resolve import transport_class, transport_config
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.catalog import ESPConfig

TYPED, STORED = "typed", "stored"

_PASSWORDS = {
    TYPED: gettext_lazy("Tested with the password you entered."),
    STORED: gettext_lazy("Tested with the saved password."),
}
_KEYS = {
    TYPED: gettext_lazy("Tested with the key you entered."),
    STORED: gettext_lazy("Tested with the saved key."),
}


@dataclass(frozen=True)
class CheckedSet:
    """A test that is ready to be run; whatever it needs of the database was looked up before.

    Attributes:
        outgoing: the test email; None: the connection alone is tested.
        login: what it logs in with, in words.
        notes: what else to know about it beside its stages, in words.
    """

    item: SettingsSetConfig
    server: TransportConfig | ESPConfig = field(repr=False)
    outgoing: OutgoingMessage | None
    login: str
    notes: tuple

    @classmethod
    def of(cls, item, secret, password, address=None):
        """Make it ready.

        Args:
            item: the set as plain values.
            secret: its password, stored or not.
            password: whether that was typed or stored; one of the names in this module.
            address: where the test email goes; None: only the connection is tested.

        Raises:
            EmailDeliveryError: the password can't be used, a redirect has no usable address, or
                what is live, which may redirect, can't be known.
        """
        server = transport_config(item, secret, is_test=True)
        login, notes = _login(item, password), _hints(item)
        if address is None:
            return cls(item, server, None, login, tuple(notes))
        redirect = redirect_for_test(item)
        outgoing = build_test_message(item, server.username, address, redirect)
        if redirect is not None:
            notes.insert(0, _redirected(redirect, address))
        return cls(item, server, outgoing, login, tuple(notes))

    def reports(self):
        """The stages, as they are done."""
        return try_server(self.item, self.server, self.outgoing)

    def notes_after(self, reached):
        """What to know when these stages were reached; no login is claimed that wasn't tried."""
        tried = {"recipient", "message"}
        if transport_class(self.item).supports_login_check:
            tried = {"auth"} if self.server.username else {"sender", *tried}
        return [*self.notes, self.login] if tried & reached else self.notes

    def success(self, reached):
        """What is said when all stages are done, and no more than they prove."""
        if self.outgoing is not None:
            recipients = ", ".join(self.outgoing.envelope.recipients)
            return _("The server accepted the test email for %s. Check the inbox.") % recipients
        return proved(self.item, reached)


def _login(item, password):
    if item.uses_esp:
        return str(_KEYS[password])
    if item.authentication == "none":
        return _("Tested without logging in.")
    if item.authentication == "default":
        return _("Tested with the default credentials, those of standard delivery.")
    if item.authentication == "oauth2":
        return _("Tested with an access token (OAuth 2).")
    return str(_PASSWORDS[password])


def _hints(item):
    """What to know of this set's sender, beside the sets as they stand."""
    draft = draft_configuration()
    sets = {each.key: each for each in draft.sets} | {item.key: item}
    hints = sender_hints(replace(draft, sets=tuple(sets.values())))
    return [str(hint.message) for hint in hints if hint.set_name == item.name]


def _redirected(redirect, address):
    if redirect.source == FORCED:
        text = _("The project's settings redirect all email, so the test email did not go to %s.")
        return text % address
    text = _("“%(set)s” redirects its email, so the test email did not go to %(address)s.")
    return text % {"set": redirect.source, "address": address}
