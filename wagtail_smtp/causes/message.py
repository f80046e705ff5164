"""Causes in the message, its sender or its recipients."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.causes import quota
from wagtail_smtp.causes.base import Cause, Failure
from wagtail_smtp.exceptions import (
    LimitReached,
    MessageOutcomeUnknown,
    MessageTooLarge,
    RecipientsSuppressed,
    RedirectError,
)
from wagtail_smtp.transports.smtp.stream import UnreadableReply

_NO_LOGIN = (
    r"authentication (is )?required(?! level)",
    r"\bnot (been )?(authenticated|logged in)\b",
    r"requires? (smtp )?(authentication|a login)",
    r"must (first )?(authenticate|log ?in)",
    r"(please|without) (smtp )?(authenticat\w+|log ?in)",
    r"turn on smtp authentication",
)
_NO_RELAY = (
    r"\brelay(ing)?\b.*(denied|not|prohibited|disallowed|refused)",
    r"(unable|permitted|allowed|cannot|do(es)? not|no) (to )?relay",
    "credentials for relay",
    "rcpthosts",
)
_NOT_YOURS = (
    "send ?as",
    r"not owned",
    "not verified",
    r"relaying disallowed as",
    r"sender (address )?(is )?(not allowed|mismatch)",
    r"not (allowed|permitted|authori[sz]ed) to (send|use)",
    r"(from|sender).*(must match|does(n't| not) match)",
    r"unauthori[sz]ed sender",
)
_NO_SUCH_SENDER = (
    r"sender verif\w+( callout)? failed",
    r"(verification|callout|callback).*\b(sender|failed)",
    r"(unverifiable|could not verify|cannot verify|can't verify).*(sender|address)",
    r"sender address rejected: (undeliverable|unverified|domain not found|.*unknown)",
    r"domain of sender address",
    "need fully-qualified address",
    r"sender domain.*(not exist|not found|resolve)",
)
_BLOCKED = ("spamhaus", "black ?list", "block ?list", "reputation", "banned", r"\b(dns|r)bl\b",
            "barracuda", "spamcop", r"blocked using", r"client host.*blocked")  # fmt: skip


def _is_sender_unknown(failure: Failure) -> bool:
    if failure.phase not in ("mail", "rcpt", "data", "reply") or not failure.is_rejection:
        return False
    return failure.has("5.1.7", "5.1.8", "4.1.8") or failure.says(*_NO_SUCH_SENDER)


POLICY = (
    Cause(
        "account-blocked",
        _("The email provider has locked the account"),
        _(
            "Log in to the account at the email provider to see why, and how to unlock it. Common "
            "reasons are spam, an unpaid bill or a stolen password."
        ),
        lambda f: (
            f.is_rejection
            and (
                f.has("5.7.13", "5.7.501", "5.7.502", "5.7.503", "5.7.705", "5.7.708")
                or f.says("bad outbound sender")
                or (
                    f.phase in ("auth", "mail")
                    and f.says(
                        r"(account|user|mailbox|sender) (is |has been |was )?(temporarily )?"
                        r"(disabled|locked|suspended|blocked|deactivated)"
                    )
                )
            )
        ),
        (
            _(
                "Microsoft 365: security.microsoft.com, “Email & collaboration”, “Review”, "
                "“Restricted entities”."
            ),
        ),
        "550 5.1.8 Access denied, bad outbound sender",
    ),
    Cause(
        "login-required",
        _("The server requires a login"),
        _(
            "Choose “Username and password” or OAuth 2 as authentication, and enter the "
            "credentials from your email provider. If the set already logs in, test again: the "
            "session may have ended."
        ),
        lambda f: (
            f.is_rejection
            and f.phase != "auth"
            and not f.uses_esp
            and not f.has("5.7.133")  # a group that only accepts internal email
            and (f.code == 530 or f.has("5.7.57") or f.says(*_NO_LOGIN))
        ),
        (_("Microsoft 365 and Google require one on smtp.office365.com and smtp.gmail.com."),),
        "530 5.7.57 Client not authenticated to send mail.",
        guide=True,
    ),
    Cause(
        "no-reverse-name",
        _("Your site's IP address has no reverse DNS name"),
        _(
            "Ask your hosting provider to set a reverse DNS (PTR) record that matches the server's "
            "name. Or send through an email provider."
        ),
        lambda f: (
            f.is_rejection
            and (
                f.has("5.7.25", "4.7.25")
                or f.says(
                    r"\bPTR\b", r"reverse (dns|hostname|lookup)", "cannot find your (reverse )?host"
                )
            )
        ),
        example="450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]",
    ),
    Cause(
        "blocked",
        _("The server, or a block list it uses, blocks email from this site"),
        _(
            "Your site's IP address has a bad reputation or sends too much. Follow the link in the "
            "server's response, or send through an email provider."
        ),
        lambda f: (
            f.is_rejection
            and (f.has("5.7.606", "5.7.511", "4.7.650", "5.7.512") or f.says(*_BLOCKED))
        ),
        (
            _("Someone else used the IP address before, or others share it."),
            _("Home and mobile connections are usually on block lists."),
            _("Someone is using a form on the site to send spam."),
        ),
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
    ),
    Cause(
        "domain-not-authenticated",
        _("The recipient's server requires proof that the site may send for this domain"),
        _("Set up SPF, DKIM and DMARC for the sender's domain, as your email provider describes."),
        lambda f: (
            f.is_rejection
            and (
                f.has("5.7.23", "5.7.26", "5.7.27", "5.7.30", "5.7.515", "5.7.750")
                or f.says(r"\b(spf|dkim|dmarc)\b")
            )
        ),
        (
            _("SPF: the domain's DNS record must include the server that this set uses."),
            _("DKIM: turn on signing at your email provider, and add the DNS records it shows."),
            _(
                "The sender's domain belongs to someone else, such as gmail.com: use your own "
                "domain."
            ),
        ),
        "550 5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail "
        "requires all senders to authenticate with either SPF or DKIM.",
    ),
    Cause(
        "sender-unverifiable",
        _("The server can't verify the sender address"),
        _(
            "Use a sender address that exists and can receive email: create its mailbox, or enter "
            "another address. Check the domain for typos."
        ),
        _is_sender_unknown,
        (
            _("The domain has no MX or A record in DNS."),
            _("The domain's mail server says that the mailbox doesn't exist."),
        ),
        "553 5.1.8 Domain of sender address shop@example.com does not exist",
    ),
    Cause(
        "sender-not-allowed",
        _("This login is not allowed to send from this address"),
        _(
            "Enter the account's own address as the sender address, turn on “Always use this "
            "sender”, or verify the address or domain with your email provider."
        ),
        lambda f: (
            f.is_rejection
            and f.phase != "auth"
            and (
                f.has("5.7.60", "5.2.252")
                or f.says(*_NOT_YOURS)
                or (f.code == 553 and f.phase == "mail")
            )
        ),
        (
            _(
                "Microsoft 365: allow the mailbox to “Send as” the address (Exchange admin center, "
                "the mailbox, “Delegation”)."
            ),
            _("Gmail: add the address under “Accounts”, “Send mail as”."),
            _(
                "Amazon SES, Postmark and others: verify the domain in the email provider's "
                "console."
            ),
        ),
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    ),
    Cause(
        "relaying-denied",
        _("The server doesn't deliver to other domains for this site"),
        _(
            "Most servers require a login for this: choose “Username and password”. If it is a "
            "relay, ask its administrator to allow your site's IP address."
        ),
        lambda f: (
            f.is_rejection
            and f.phase != "auth"
            and (f.has("5.7.54", "5.7.64") or f.says(*_NO_RELAY))
        ),
        (
            _(
                "This host receives email for its own domains (MX) and is not meant for sending. "
                "For Microsoft 365 use smtp.office365.com, for Google smtp.gmail.com."
            ),
            _("Google's SMTP relay: enter your site's IP address in the Admin console."),
        ),
        "554 5.7.1 <someone@example.org>: Relay access denied",
    ),
    Cause(
        "no-service",
        _("The server is not accepting email from this site"),
        _(
            "It closed the connection before the site sent anything. Its response may say why. Ask "
            "its administrator, or use another server."
        ),
        lambda f: f.phase == "banner" and f.code >= 500,
        (
            _("The server is meant for other email or for other sites."),
            _("Your site's IP address is on a block list that the server doesn't name."),
        ),
        "554 5.3.2 mail.example.com ESMTP not accepting messages",
    ),
)


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
        "suppressed",
        _("All recipients are on the suppression list"),
        _(
            "An address is on the list because it bounced, because its owner reported email as "
            "spam or unsubscribed, or because someone added it. If it should get email again, "
            "remove it under “Suppressed addresses”."
        ),
        lambda f: isinstance(f.error, RecipientsSuppressed),
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
        "limit-reached",
        _("A limit of the settings set is reached"),
        _(
            "In the outbox, messages wait until there is room. To send more, raise the limit in "
            "the set if your email provider allows it, or add another set below it: it takes over "
            "as soon as the limit is reached."
        ),
        lambda f: f.phase == "limit" and not f.code and isinstance(f.error, LimitReached),
    ),
    Cause(
        "too-many-recipients",
        _("Too many recipients in one message"),
        _(
            "Ask a developer to lower WAGTAIL_SMTP['MAX_RECIPIENTS'], or to send the message to "
            "fewer people at a time. If the settings set has a limit that is lower than the number "
            "of recipients, you can also raise the limit."
        ),
        lambda f: (
            (f.phase == "limit" and not isinstance(f.error, LimitReached))
            or f.has("4.5.3", "5.5.3")
            or f.says("too many recipients(?! from)")
        ),
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
        _(
            "Enter your email provider's limits in the settings set, so that the site keeps to "
            "them. To send more, ask your email provider for a higher limit, or add a backup."
        ),
        lambda f: (
            f.is_rejection
            and not _is_mailbox_full(f)
            and (
                quota.find(f.phase, f.code, f.reply) is not None
                or f.has("4.7.28", "5.7.28", "5.1.90")
                or f.says(*_TOO_MANY_MESSAGES)
            )
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
        # A failed login has no cause: the server may have echoed the password.
        lambda f: (
            isinstance(f.cause, UnreadableReply)
            or (f.phase == "auth" and "response can't be read" in f.message)
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
