"""Causes that lie in the message, its sender or its recipients."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.failure import Cause, Failure
from wagtail_smtp.exceptions import MessageOutcomeUnknown, MessageTooLarge, RedirectError


def _rejected(failure: Failure) -> bool:
    return failure.code >= 400


MESSAGE = (
    Cause(
        "redirected-to-nobody",
        _("Mail is redirected, but to no usable address"),
        _(
            "Enter a report email in the settings set that redirects, or end the redirect. If the "
            "project's settings force it, a developer has to name an address there."
        ),
        lambda f: isinstance(f.error, RedirectError),
    ),
    Cause(
        "outcome-unknown",
        _("The message was handed over, but the answer never came"),
        _(
            "It may have arrived, so it is not sent again by itself. Ask the recipient, then "
            "resend it or leave it."
        ),
        lambda f: isinstance(f.error, MessageOutcomeUnknown),
    ),
    Cause(
        "too-large",
        _("The message is larger than the server takes"),
        _("Send smaller files, or links to them."),
        lambda f: isinstance(f.error, MessageTooLarge) or f.has("5.3.4") or f.says("size limit"),
    ),
    Cause(
        "mailbox-full",
        _("The recipient's mailbox is full"),
        _("Only the recipient can mend that."),
        lambda f: f.has("5.2.2", "4.2.2") or f.says("mailbox (is )?full", "over ?quota"),
    ),
    Cause(
        "greylisted",
        _("The server asks to try again later (greylisting)"),
        _("That is usual for first contacts. With the outbox the site tries again by itself."),
        lambda f: 400 <= f.code < 500 and f.says("gr[ae]y-?list"),
    ),
    Cause(
        "rate-limited",
        _("Too many messages in a short time"),
        _("Wait, send less at once, or ask the provider for a higher limit."),
        lambda f: (
            f.code in (421, 432, 450, 451, 452, 454, 550, 552)
            and (
                f.says("rate", "too many", "quota", "limit exceeded", "throttl") or f.has("4.7.28")
            )
        ),
    ),
    Cause(
        "relaying-denied",
        _("The server doesn't send to other domains for this site"),
        _(
            "Most servers do so only after a login: choose “Username and password”. A relay may "
            "have to allow this site's address."
        ),
        lambda f: _rejected(f) and f.says("relay"),
    ),
    Cause(
        "blocked",
        _("The server, or a list it asks, blocks mail from this site"),
        _(
            "The address of the site's server has a bad reputation, or sends too much. Follow the "
            "link in the server's words, or send through a provider."
        ),
        lambda f: (
            _rejected(f)
            and (
                f.has("5.7.606", "5.7.511", "4.7.650", "5.7.512")
                or f.says(
                    "spamhaus", "blacklist", "blocklist", "block list", "reputation", "banned"
                )
            )
        ),
    ),
    Cause(
        "domain-not-authenticated",
        _("The recipient's server wants proof that the site may send for this domain"),
        _("Set up SPF, DKIM and DMARC for the sender's domain, as the provider describes."),
        lambda f: _rejected(f) and (f.has("5.7.26", "5.7.515") or f.says("spf", "dkim", "dmarc")),
    ),
    Cause(
        "sender-not-allowed",
        _("The server doesn't let this login send from this address"),
        _(
            "Set the sender address to the account's own, turn on “Always use this sender”, or "
            "let the provider verify the address or domain."
        ),
        lambda f: (
            (f.phase == "mail" and _rejected(f))
            or f.code == 553
            or f.has("5.7.60")
            or f.says("send ?as", "sender address rejected", "not owned", "not verified")
        ),
    ),
    Cause(
        "unknown-recipient",
        _("The recipient doesn't exist"),
        _("Check the address for typing errors."),
        lambda f: f.has("5.1.1", "5.1.10", "5.1.2") or (f.phase == "rcpt" and f.code == 550),
    ),
    Cause(
        "try-later",
        _("The server asks to try again later"),
        _("With the outbox the site tries again by itself."),
        lambda f: 400 <= f.code < 500,
    ),
    Cause(
        "connection-lost",
        _("The connection broke"),
        _("The server or something in between ended it. If it stays, ask the provider."),
        lambda f: f.code == 0 and isinstance(f.cause, OSError),
    ),
    Cause(
        "other",
        _("The server ended the attempt"),
        _("The server's words are all that is known. Its provider can tell what they mean."),
        lambda failure: True,
    ),
)
