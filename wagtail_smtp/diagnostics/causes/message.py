"""Causes in the message, its sender or its recipients."""

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
        "redirect-without-address",
        _("A redirect is on but has no valid address"),
        _(
            "Enter a report email in the settings set that redirects, or turn off the redirect. If "
            "the project's settings force it, ask a developer to enter an address there."
        ),
        lambda f: isinstance(f.error, RedirectError),
    ),
    Cause(
        "outcome-unknown",
        _("The message was sent, but the server didn't confirm it"),
        _(
            "It may have arrived, so it is not resent automatically. Ask the recipient, and resend "
            "it if necessary."
        ),
        lambda f: isinstance(f.error, MessageOutcomeUnknown),
    ),
    Cause(
        "too-large",
        _("The message is too large for the server"),
        _("Send smaller files, or links to them."),
        lambda f: (
            isinstance(f.error, MessageTooLarge)
            or f.has("5.3.4", "5.2.3")
            or f.says("size limit", r"message (is )?too (large|big)")
        ),
        (_("Files grow by a third when you send them by email."),),
        "552 5.3.4 Message size exceeds fixed limit",
    ),
    Cause(
        "too-many-recipients",
        _("Too many recipients in one message"),
        _(
            "Ask a developer to lower WAGTAIL_SMTP['MAX_RECIPIENTS'], or to send the message to "
            "fewer people at a time."
        ),
        lambda f: f.has("4.5.3", "5.5.3") or f.says("too many recipients"),
        example="550 5.5.3 Too many recipients",
    ),
    Cause(
        "greylisted",
        _("The server asked the site to try again later (greylisting)"),
        _(
            "This is normal for a first contact. If your site uses the outbox, it tries again "
            "automatically."
        ),
        lambda f: 400 <= f.code < 500 and f.says("gr[ae]y-?list", "postgrey"),
        example="450 4.2.0 <someone@example.org>: Recipient address rejected: Greylisted",
    ),
    Cause(
        "rate-limited",
        _("Too many messages in a short time"),
        _("Wait, send fewer messages at a time, or ask your email provider for a higher limit."),
        lambda f: (
            f.is_rejection
            and not _is_mailbox_full(f)
            and (f.has("4.7.28", "5.7.28", "5.1.90") or f.says(*_TOO_MANY_MESSAGES))
        ),
        (
            _("Microsoft 365: 10,000 recipients a day and 30 messages a minute per mailbox."),
            _("Google Workspace: 2,000 messages a day; trial and private accounts: 500."),
            _("For newsletters, use a service that is made for them."),
        ),
        "550 5.4.5 Daily user sending quota exceeded. - gsmtp",
    ),
    Cause(
        "mailbox-full",
        _("The recipient's mailbox is full"),
        _("Only the recipient can fix this."),
        lambda f: _is_mailbox_full(f),
        example="552 5.2.2 The email account that you tried to reach is over quota.",
    ),
    Cause(
        "recipient-disabled",
        _("The recipient's mailbox doesn't accept email"),
        _("It exists but is disabled or no longer used. Ask for another address."),
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
        _("The recipient's address doesn't exist"),
        _("Check the address for typos."),
        lambda f: (
            f.has("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.4.1", "5.4.4")
            or (_is_of_recipient(f) and f.code >= 500 and f.says(*_NO_SUCH_RECIPIENT))
        ),
        (
            _("The person has left and the mailbox was deleted."),
            _("The address's domain doesn't exist or doesn't receive email."),
        ),
        "550 5.1.1 <someone@example.org>: Recipient address rejected: User unknown",
    ),
    Cause(
        "unwanted",
        _("The server treated the message as spam, or it breaks the server's rules"),
        _(
            "The server's response may say why. Check the message's links, attachments and "
            "wording, and SPF, DKIM and DMARC for the sender's domain."
        ),
        _is_unwanted,
        (
            _("Most servers block programs and archives as attachments: send a link instead."),
            _("Some servers treat very short messages, such as tests, as spam."),
        ),
        "550 5.7.1 Message rejected as spam by Content Filtering.",
    ),
    Cause(
        "sender-refused",
        _("The server refused the sender"),
        _(
            "The server's response may say why. Check the set's sender address: most servers "
            "require one from the account's own domain."
        ),
        lambda f: f.phase == "mail" and f.code >= 500,
        example="550 5.7.1 Access denied",
    ),
    Cause(
        "recipient-refused",
        _("The server refused the recipient"),
        _(
            "The server's response may say why. If other recipients receive email, the problem is "
            "this address. Otherwise the server doesn't accept email from your site or its sender."
        ),
        lambda f: f.phase == "rcpt" and f.code >= 500,
        example="550 5.7.1 <someone@example.org>: Recipient address rejected: Access denied",
    ),
    Cause(
        "try-later",
        _("The server asked the site to try again later"),
        _(
            "If your site uses the outbox, it tries again automatically. Otherwise, resend the "
            "message later."
        ),
        lambda f: 400 <= f.code < 500,
        example="451 4.3.0 Temporary lookup failure",
    ),
    Cause(
        "server-silent",
        _("The server stopped responding"),
        _(
            "Try again. If the server is just slow, raise “Timeout” under “More settings”. If it "
            "happens again, tell the server's administrator."
        ),
        lambda f: f.code == 0 and f.is_timeout,
    ),
    Cause(
        "not-understood",
        _("The server's response can't be understood"),
        _(
            "This may not be a mail server. Or a firewall or antivirus program changes the "
            "server's responses."
        ),
        lambda f: (
            f.code == 0
            and any(
                part in f.message
                for part in ("SMTP reply", "mixed two replies", "'s reply has", "can't be read")
            )
        ),
    ),
    Cause(
        "connection-lost",
        _("The connection was lost"),
        _(
            "The server, or something between it and your site, closed the connection. If it keeps "
            "happening, ask your email provider."
        ),
        lambda f: f.is_connection_lost,
        (_("After several wrong passwords, some servers close connections from that IP address."),),
    ),
    Cause(
        "other",
        _("The server ended the attempt"),
        _("Only the server's response is known. Ask your email provider what it means."),
        lambda failure: True,
        example="554 5.6.0 Message contains bare LF and is rejected",
    ),
)


def _is_mailbox_full(failure: Failure) -> bool:
    if failure.says("submission ?quota"):
        return False  # Microsoft: the sender's quota, not the recipient's
    return failure.has("5.2.2", "4.2.2") or failure.says(
        "mailbox (is )?full",
        "over ?quota",
        "exceeded storage",
        r"mailbox.*(quota|size|storage)",
    )
