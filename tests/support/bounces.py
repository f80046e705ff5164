"""Messages as mail servers and providers return them, shaped like real ones."""

from collections.abc import Mapping

RECIPIENT = "someone@example.org"

_REPORT = """\
Return-Path: <>
From: {sender}
To: {to}
Subject: Undelivered Mail
Message-ID: <report@mail.example.org>
Date: Mon, 30 Nov 2026 02:00:00 +0000
{headers}MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="XX"

--XX
Content-Type: text/plain; charset=utf-8

Your message could not be delivered to <{recipient}>.

--XX
Content-Type: {kind}

Reporting-MTA: dns; mail.example.org
Arrival-Date: Mon, 30 Nov 2026 01:59:59 +0000

{fields}

--XX
Content-Type: message/rfc822

From: site@example.com
To: {recipient}
Subject: Hello
Message-ID: <original@example.com>

Hello.

--XX--
"""


def report(
    to: str,
    fields: str,
    *,
    recipient: str = RECIPIENT,
    sender: str = "MAILER-DAEMON@mail.example.org (Mail Delivery System)",
    headers: str = "",
    kind: str = "message/delivery-status",
) -> bytes:
    """A delivery status notification to the bounce address ``to``."""
    text = _REPORT.format(
        to=to, fields=fields, recipient=recipient, sender=sender, headers=headers, kind=kind
    )
    return text.encode()


def fields(
    status: str = "5.1.1",
    action: str = "failed",
    response: str = "smtp; 550 5.1.1 User unknown",
    final: str = f"rfc822; {RECIPIENT}",
) -> str:
    """The fields about one recipient."""
    return (
        f"Final-Recipient: {final}\nAction: {action}\nStatus: {status}\nDiagnostic-Code: {response}"
    )


#: Fields as servers write them, with the type and the beginning of the reason that follow.
STANDARD: Mapping[str, tuple[str, str, str]] = {
    "postfix": (
        f"Final-Recipient: rfc822; {RECIPIENT}\n"
        f"Original-Recipient: rfc822;{RECIPIENT}\n"
        "Action: failed\nStatus: 5.1.1\n"
        "Remote-MTA: dns; mx.example.org\n"
        f"Diagnostic-Code: smtp; 550 5.1.1 <{RECIPIENT}>: Recipient address\n"
        "    rejected: User unknown",
        "bounced",
        f"550 5.1.1 <{RECIPIENT}>: Recipient address rejected: User unknown",
    ),
    "postfix without a domain": (
        f"Final-Recipient: rfc822; {RECIPIENT}\nAction: failed\nStatus: 5.4.4\n"
        "Diagnostic-Code: X-Postfix; Host or domain name not found.",
        "bounced",
        "5.4.4 Host or domain name not found.",
    ),
    "postfix delayed": (
        f"Final-Recipient: rfc822; {RECIPIENT}\nAction: delayed\nStatus: 4.4.1\n"
        "Will-Retry-Until: Fri, 4 Dec 2026 01:59:59 +0000\n"
        "Diagnostic-Code: X-Postfix; connect to mx.example.org[192.0.2.1]:25: Connection timed out",
        "deferred",
        "4.4.1 connect to",
    ),
    "postfix given up": (fields("4.4.1", response="X-Postfix; timed out"), "failed", "4.4.1 timed"),
    "exim": (
        f"Action: failed\nFinal-Recipient: rfc822;{RECIPIENT}\nStatus: 5.0.0\n"
        "Remote-MTA: dns; mx.example.org\n"
        "Diagnostic-Code: smtp; 550 No such user here",
        "bounced",
        "5.0.0 550 No such user here",
    ),
    "office 365": (
        f"Final-Recipient: rfc822;{RECIPIENT}\nAction: failed\nStatus: 5.1.10\n"
        "Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient "
        f"{RECIPIENT} not found by SMTP address lookup",
        "bounced",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound",
    ),
    "gmail": (
        f"Final-Recipient: rfc822; {RECIPIENT}\nAction: failed\nStatus: 5.1.1\n"
        "Remote-MTA: dns; gmail-smtp-in.l.google.com. (192.0.2.1, the server for the domain.)\n"
        "Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach is gone.\n"
        "Last-Attempt-Date: Mon, 30 Nov 2026 01:59:59 -0800 (PST)",
        "bounced",
        "550-5.1.1 The email account",
    ),
    "full mailbox": (fields("5.2.2", response="smtp; 552 5.2.2 Over quota"), "failed", "552 5.2.2"),
    "spam": (fields("5.7.1", response="smtp; 550 5.7.1 Looks like spam"), "failed", "550 5.7.1"),
    "delivered": (fields("2.1.5", "delivered", "smtp; 250 2.1.5 OK"), "delivered", "250 2.1.5 OK"),
    "brackets": (fields(final=f"rfc822;<{RECIPIENT.upper()}>"), "bounced", "550 5.1.1"),
    "no status": (fields("", response="smtp; 550 no such user"), "bounced", "550 no such user"),
    "no action": (fields(action=""), "bounced", "550 5.1.1"),
    "nothing but the action": (
        f"Final-Recipient: rfc822; {RECIPIENT}\nAction: failed",
        "failed",
        "",
    ),
    "forwarded": (
        f"Original-Recipient: rfc822; {RECIPIENT}\n" + fields(final="rfc822; other@example.net"),
        "bounced",
        "550 5.1.1",
    ),
}


def qmail(to: str) -> bytes:
    """A bounce of qmail, in its own format."""
    return (
        f"Return-Path: <>\nFrom: MAILER-DAEMON@mail.example.org\nTo: {to}\n"
        "Subject: failure notice\nDate: 30 Nov 2026 02:00:00 -0000\n\n"
        "Hi. This is the qmail-send program at mail.example.org.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        f"<{RECIPIENT}>:\n192.0.2.1 does not like recipient.\n"
        "Remote host said: 550 5.1.1 no such user\nGiving up on 192.0.2.1.\n\n"
        "--- Below this line is a copy of the message.\n\n"
        "From: site@example.com\nSubject: 5.7.1 is not a status\n\nHello.\n"
    ).encode()


def exim(to: str) -> bytes:
    """A bounce of an older Exim, in plain text."""
    return (
        f"Return-path: <>\nX-Failed-Recipients: {RECIPIENT}\nAuto-Submitted: auto-replied\n"
        f"From: Mail Delivery System <Mailer-Daemon@mail.example.org>\nTo: {to}\n"
        "Subject: Mail delivery failed: returning message to sender\n"
        "Date: Mon, 30 Nov 2026 02:00:00 +0000\n\n"
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of its\n"
        "recipients. This is a permanent error. The following address(es) failed:\n\n"
        f"  {RECIPIENT}\n    SMTP error from remote mail server after RCPT TO:<{RECIPIENT}>:\n"
        "    550 5.1.1 unknown user\n\n"
        "------ This is a copy of the message, including all the headers. ------\n\nHello.\n"
    ).encode()


def exchange(to: str) -> bytes:
    """A bounce of an older Exchange, in plain text."""
    return (
        f"From: System Administrator <postmaster@mail.example.org>\nTo: {to}\n"
        "Subject: Undeliverable: Hello\nDate: Mon, 30 Nov 2026 02:00:00 +0000\n\n"
        "Your message\n\n  To:      someone\n  Subject: Hello\n\n"
        "did not reach the following recipient(s):\n\n"
        f"{RECIPIENT} on Mon, 30 Nov 2026 01:59:59 -0000\n"
        "    The recipient name is not recognized\n"
        "    MSEXCH:IMS:Example:MAIL 0 (000C05A6) Unknown Recipient\n"
    ).encode()


def complaint(to: str, sender: str, recipient: str = RECIPIENT) -> bytes:
    """A complaint (RFC 5965) to a feedback address, about a message from ``sender``."""
    named = f"Original-Rcpt-To: <{recipient}>\n" if recipient else ""
    return (
        f"From: feedback@example.org\nTo: {to}\nSubject: FW: Hello\nMessage-ID: <arf@example.org>\n"
        "Date: Mon, 30 Nov 2026 02:00:00 +0000\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="XX"\n\n'
        "--XX\nContent-Type: text/plain\n\nThis is an abuse report.\n\n"
        "--XX\nContent-Type: message/feedback-report\n\n"
        f"Feedback-Type: abuse\nUser-Agent: Example/1\nVersion: 1\n"
        f"Original-Mail-From: <{sender}>\n{named}\n"
        "--XX\nContent-Type: message/rfc822\n\nFrom: site@example.com\nSubject: Hello\n\nHello.\n"
        "--XX--\n"
    ).encode()


def vacation(to: str) -> bytes:
    """An automatic reply of a person (RFC 3834)."""
    return (
        f"Return-Path: <>\nFrom: Someone <{RECIPIENT}>\nTo: {to}\nSubject: Out of office\n"
        "Auto-Submitted: auto-replied (vacation)\nPrecedence: bulk\n\n"
        "Delivery to me has failed: I am away. Write to <other@example.org>.\n"
    ).encode()


def challenge(to: str) -> bytes:
    """A challenge: the sender has to confirm before the message is shown."""
    return (
        f"From: {RECIPIENT}\nTo: {to}\nSubject: Please confirm your message\n\n"
        "Reply to this message, and yours is delivered.\n"
    ).encode()


def read_receipt(to: str) -> bytes:
    """A message disposition notification (RFC 8098)."""
    return (
        f"From: {RECIPIENT}\nTo: {to}\nSubject: Read\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=disposition-notification; boundary="XX"\n\n'
        "--XX\nContent-Type: text/plain\n\nIt was read.\n\n"
        "--XX\nContent-Type: message/disposition-notification\n\n"
        f"Final-Recipient: rfc822; {RECIPIENT}\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\n"
        "\n--XX--\n"
    ).encode()
