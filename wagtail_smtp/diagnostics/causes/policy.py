"""Causes in the site's permission to send: its login, account, IP address and sender."""

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
