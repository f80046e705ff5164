"""Causes that lie in the site's right to send: its login, account, address and sender."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure

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
        _("The provider has locked the account"),
        _(
            "Log in at the provider: it says there why, and how to unlock the account. Usual "
            "reasons are spam, a bill that isn't paid, or a password that someone stole."
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
        _("The server wants a login"),
        _(
            "Choose “Username and password” or OAuth 2 as authentication, and enter what the "
            "provider gave you. If the set does log in, test again: the session may have ended."
        ),
        lambda f: (
            f.is_rejection
            and f.phase != "auth"
            and not f.is_provider
            and not f.has("5.7.133")  # a group that takes mail from inside only
            and (f.code == 530 or f.has("5.7.57") or f.says(*_NO_LOGIN))
        ),
        (_("Microsoft 365 and Google want one on smtp.office365.com and smtp.gmail.com."),),
        "530 5.7.57 Client not authenticated to send mail.",
        guide=True,
    ),
    Cause(
        "no-reverse-name",
        _("The address of the site's server has no name"),
        _(
            "Ask the hosting provider to set a reverse DNS entry (PTR) that fits the name of the "
            "machine, or send through an email provider."
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
        _("The server, or a list it asks, blocks mail from this site"),
        _(
            "The address of the site's server has a bad reputation, or sends too much. Follow the "
            "link in the server's words, or send through a provider."
        ),
        lambda f: (
            f.is_rejection
            and (f.has("5.7.606", "5.7.511", "4.7.650", "5.7.512") or f.says(*_BLOCKED))
        ),
        (
            _("The address belonged to someone else before, or is shared with others."),
            _("Home and mobile connections are on such lists as a rule."),
            _("Someone abuses a form of the site to send spam."),
        ),
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
    ),
    Cause(
        "domain-not-authenticated",
        _("The recipient's server wants proof that the site may send for this domain"),
        _("Set up SPF, DKIM and DMARC for the sender's domain, as the provider describes."),
        lambda f: (
            f.is_rejection
            and (
                f.has("5.7.23", "5.7.26", "5.7.27", "5.7.30", "5.7.515", "5.7.750")
                or f.says(r"\b(spf|dkim|dmarc)\b")
            )
        ),
        (
            _("SPF: the DNS entry of the domain has to name the server that this set uses."),
            _("DKIM: turn on signing at the provider, and add the DNS entries that it shows."),
            _("The sender's domain is another's, such as gmail.com: use one of your own."),
        ),
        "550 5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail "
        "requires all senders to authenticate with either SPF or DKIM.",
    ),
    Cause(
        "sender-unverifiable",
        _("The server can't verify the sender's address"),
        _(
            "Use a sender address that exists and can receive mail: create its mailbox, or enter "
            "another. Check its domain for typing errors."
        ),
        _is_sender_unknown,
        (
            _("The domain has no MX or A entry in DNS."),
            _("The domain's mail server says that it has no such mailbox."),
        ),
        "553 5.1.8 Domain of sender address shop@example.com does not exist",
    ),
    Cause(
        "sender-not-allowed",
        _("The server doesn't let this login send from this address"),
        _(
            "Set the sender address to the account's own, turn on “Always use this sender”, or "
            "let the provider verify the address or domain."
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
                "Microsoft 365: let the mailbox “Send as” the address (Exchange admin center, the "
                "mailbox, “Delegation”)."
            ),
            _("Gmail: add the address under “Accounts”, “Send mail as”."),
            _("Amazon SES, Postmark and others: verify the domain in the provider's console."),
        ),
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    ),
    Cause(
        "relaying-denied",
        _("The server doesn't send to other domains for this site"),
        _(
            "Most servers do so only after a login: choose “Username and password”. A relay may "
            "have to allow this site's address."
        ),
        lambda f: (
            f.is_rejection
            and f.phase != "auth"
            and (f.has("5.7.54", "5.7.64") or f.says(*_NO_RELAY))
        ),
        (
            _(
                "The host is where mail for its own domains arrives (MX), not the server for "
                "sending. Microsoft 365 and Google have another: smtp.office365.com, "
                "smtp.gmail.com."
            ),
            _("Google's SMTP relay: enter the site's address in the Admin console."),
        ),
        "554 5.7.1 <someone@example.org>: Relay access denied",
    ),
    Cause(
        "no-service",
        _("The server doesn't accept mail from this site's address, or not now"),
        _(
            "It ended the connection before the site said anything. Its response may say why. Ask "
            "its administrator, or send through another server."
        ),
        lambda f: f.phase == "banner" and f.code >= 500,
        (
            _("The server is meant for other mail, or for the addresses of other sites."),
            _("The address of the site is on a block list that the server doesn't name."),
        ),
        "554 5.3.2 mail.example.com ESMTP not accepting messages",
    ),
)
