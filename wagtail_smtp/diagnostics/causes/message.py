"""Causes that lie in the message, its sender or its recipients."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure
from wagtail_smtp.exceptions import MessageOutcomeUnknown, MessageTooLarge, RedirectError

_NO_SUCH_RECIPIENT = (
    r"(user|recipient|mailbox|address|account) (is )?(unknown|not found|invalid|unavailable)",
    r"unknown (user|recipient|mailbox|address)",
    r"no such (user|recipient|mailbox|address|account|person)",
    r"(user|recipient|mailbox|address|account).*(does not|doesn't) exist",
    r"invalid (mailbox|recipient|address)",
    r"unrouteable address",
    r"no (mailbox|user) here",
)
_TOO_MANY_MESSAGES = (
    r"\brate\b|rate.?limit",
    r"too many (messages|e?mails)",
    r"too (fast|often)",
    r"(quota|limit)\b.*(exceeded|reached)",
    r"(exceeded|reached|over)\b.*(quota|limit)",
    r"quotaexceeded",
    "throttl",
    "too many requests",
)


def _is_of_recipient(failure: Failure) -> bool:
    return failure.phase in ("rcpt", "reply", "data", "body") and failure.is_rejection


def _is_unwanted(failure: Failure) -> bool:
    if failure.phase not in ("data", "body", "reply") or failure.code < 500:
        return False
    return failure.has("5.7.0", "5.7.1", "5.7.7", "5.7.9") or failure.says(
        r"\bspam\b", "virus", "malware", "phish", "unsolicited", "policy", "content", "prohibited"
    )


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
        lambda f: (
            isinstance(f.error, MessageTooLarge)
            or f.has("5.3.4", "5.2.3")
            or f.says("size limit", r"message (is )?too (large|big)")
        ),
        (_("Files grow by a third when they are sent by email."),),
        "552 5.3.4 Message size exceeds fixed limit",
    ),
    Cause(
        "too-many-recipients",
        _("Too many recipients in one message"),
        _(
            "A developer can lower WAGTAIL_SMTP['MAX_RECIPIENTS'], or send the message to fewer "
            "people at once."
        ),
        lambda f: f.has("4.5.3", "5.5.3") or f.says("too many recipients"),
        example="550 5.5.3 Too many recipients",
    ),
    Cause(
        "greylisted",
        _("The server asks to try again later (greylisting)"),
        _("That is usual for first contacts. With the outbox the site tries again by itself."),
        lambda f: 400 <= f.code < 500 and f.says("gr[ae]y-?list", "postgrey"),
        example="450 4.2.0 <someone@example.org>: Recipient address rejected: Greylisted",
    ),
    Cause(
        "rate-limited",
        _("Too many messages in a short time"),
        _("Wait, send less at once, or ask the provider for a higher limit."),
        lambda f: (
            f.is_rejection
            and not _is_mailbox_full(f)
            and (f.has("4.7.28", "5.7.28", "5.1.90") or f.says(*_TOO_MANY_MESSAGES))
        ),
        (
            _("Microsoft 365: 10,000 recipients a day and 30 messages a minute for a mailbox."),
            _("Google Workspace: 2,000 messages a day, 500 for trial and private accounts."),
            _("Newsletters belong to a provider that is made for them."),
        ),
        "550 5.4.5 Daily user sending quota exceeded. - gsmtp",
    ),
    Cause(
        "mailbox-full",
        _("The recipient's mailbox is full"),
        _("Only the recipient can mend that."),
        lambda f: _is_mailbox_full(f),
        example="552 5.2.2 The email account that you tried to reach is over quota.",
    ),
    Cause(
        "recipient-disabled",
        _("The recipient's mailbox doesn't accept mail"),
        _("It exists, but was switched off or isn't used any more. Ask for another address."),
        lambda f: (
            _is_of_recipient(f)
            and (
                f.has("5.2.1", "4.2.1")
                or f.says(r"(mailbox|account|user|recipient)\b.*\b(disabled|inactive|suspended)")
            )
        ),
        example="550 5.2.1 The email account that you tried to reach is inactive.",
    ),
    Cause(
        "unknown-recipient",
        _("The recipient doesn't exist"),
        _("Check the address for typing errors."),
        lambda f: (
            f.has("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.4.1", "5.4.4")
            or (_is_of_recipient(f) and f.code >= 500 and f.says(*_NO_SUCH_RECIPIENT))
        ),
        (
            _("The person has left, and the mailbox was deleted."),
            _("The domain of the address doesn't exist, or receives no mail."),
        ),
        "550 5.1.1 <someone@example.org>: Recipient address rejected: User unknown",
    ),
    Cause(
        "unwanted",
        _("The server took the message for spam, or it breaks the server's rules"),
        _(
            "Its response may say why. Check links, files and words of the message, and SPF, DKIM "
            "and DMARC of the sender's domain."
        ),
        _is_unwanted,
        (
            _("Programs and archives as attachments are blocked by most servers: send a link."),
            _("Very short messages, such as tests, look like spam to some servers."),
        ),
        "550 5.7.1 Message rejected as spam by Content Filtering.",
    ),
    Cause(
        "sender-refused",
        _("The server refused the sender"),
        _(
            "Its response may say why. Check the sender address of the set: most servers want one "
            "of the account's own domain."
        ),
        lambda f: f.phase == "mail" and f.code >= 500,
        example="550 5.7.1 Access denied",
    ),
    Cause(
        "recipient-refused",
        _("The server refused the recipient"),
        _(
            "Its response may say why. If other recipients get their mail, it concerns this "
            "address; otherwise the site or its sender isn't welcome there."
        ),
        lambda f: f.phase == "rcpt" and f.code >= 500,
        example="550 5.7.1 <someone@example.org>: Recipient address rejected: Access denied",
    ),
    Cause(
        "try-later",
        _("The server asks to try again later"),
        _("With the outbox the site tries again by itself."),
        lambda f: 400 <= f.code < 500,
        example="451 4.3.0 Temporary lookup failure",
    ),
    Cause(
        "server-silent",
        _("The server stopped answering"),
        _(
            "Try again. If the server is only slow, raise “Timeout” under “More settings”; if it "
            "happens again, tell its administrator."
        ),
        lambda f: f.code == 0 and f.is_timeout,
    ),
    Cause(
        "not-understood",
        _("The server's answer makes no sense"),
        _(
            "It may be no mail server. Or something in between, such as a firewall or antivirus "
            "program, changes what it says."
        ),
        lambda f: (
            f.code == 0
            and any(
                part in f.message
                for part in ("no SMTP reply", "mixed two replies", "'s reply has", "can't be read")
            )
        ),
    ),
    Cause(
        "connection-lost",
        _("The connection broke"),
        _("The server or something in between ended it. If it stays, ask the provider."),
        lambda f: f.is_connection_lost,
        (_("After several wrong passwords, some servers end connections from an address."),),
    ),
    Cause(
        "other",
        _("The server ended the attempt"),
        _("The server's words are all that is known. Its provider can tell what they mean."),
        lambda failure: True,
        example="554 5.6.0 Message contains bare LF and is rejected",
    ),
)


def _is_mailbox_full(failure: Failure) -> bool:
    if failure.says("submission ?quota"):
        return False  # of the sender, as Microsoft puts it
    return failure.has("5.2.2", "4.2.2") or failure.says(
        "mailbox (is )?full",
        "over ?quota",
        "exceeded storage",
        r"mailbox.*(quota|size|storage)",
    )
