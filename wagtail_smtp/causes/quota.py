"""Recognise that a server or email provider reports a quota of the account as used up.

Only what is about the account: a recipient's full mailbox, too many recipients in one message or
too many connections are something else. The texts are those of Gmail, Microsoft 365, Amazon SES,
Zoho, Postfix, Exim with cPanel, Hostinger, SendGrid, Mailgun, Brevo, Resend and Prolateral.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota that is used up, and the seconds after which another attempt makes sense.

    Servers rarely say how long it lasts. Of a quota for a day, part may be free after an hour.
    """

    seconds: float


#: Enhanced status codes, the seconds to wait, and what is about something else all the same.
_NOT_OF_ACCOUNT = re.compile(
    r"[45]\.2\.[1-3]\b|[45]\.5\.3\b|[45]\.3\.4\b"
    r"|mailbox|storage|over ?quota|connections?\b|thread|login|auth|\bsize\b|per message"
    r"|is receiving mail",
    re.IGNORECASE,
)
_LIMIT = r"(limits?|quotas?|credits)"
_QUOTAS: tuple[tuple[float, re.Pattern[str]], ...] = tuple(
    (seconds, re.compile("|".join(patterns), re.IGNORECASE))
    for seconds, patterns in (
        # Amazon SES: messages per second. Emails are lost if they come faster.
        (5, [r"maximum sending rate exceeded"]),
        (
            3600,
            [
                r"^5\.1\.90\b",
                r"^5\.7\.23[23]\b",
                rf"\b(daily|monthly|24.hours?)\b.*\b{_LIMIT}\b",
                rf"\b{_LIMIT}\b.*\b(per|a|each|for the|in 24) (day|month|hours)\b",
                r"(daily|monthly)_quota_exceeded",
                r"submission ?quota ?exceeded",
                r"maximum credits exceeded|not enough credits|not_enough_credits",
            ],
        ),
        (
            600,
            [
                r"^4\.7\.28\b",
                r"^5\.4\.6 unusual sending activity",
                rf"\bhour(ly)?\b.*\b({_LIMIT}|exceeded)\b",
                rf"\b(exceeded|{_LIMIT})\b.*\b(per|an) hour\b",
                rf"\b(sending|outgoing|outmail|messaging|sender|relay|e?mail) {_LIMIT}\b"
                r".*\b(exceeded|reached|used up)\b",
                rf"\b(exceeded|reached)\b.*\b(sending|outgoing|outmail|messaging|e?mail) {_LIMIT}",
            ],
        ),
        (
            60,
            [
                r"submission rate",
                r"rate ?-?limit\w*\b.*\bexceeded",
                r"exceeded .*\brate ?limit",
                r"too much mail from",
                r"too many recipients from",
                r"throttling failure",
                r"sender is throttled",
            ],
        ),
    )
)
#: Phases in which a refusal is about the session and not about what was sent.
_OF_SESSION = frozenset({"pool", "connect", "banner", "ehlo", "starttls", "tls", "auth", "reset"})
#: An email provider's “Too Many Requests”: requests per second or minute.
_TOO_MANY_REQUESTS, _WAIT_FOR_REQUESTS = 429, 5
#: Characters of a response that are searched, so that a hostile server can't make that slow.
_LONGEST_REPLY = 1000


def find(phase: str, code: int, reply: str) -> Quota | None:
    """Return the quota that a response reports as used up.

    Args:
        phase, code, reply: as in :class:`wagtail_smtp.exceptions.AttemptFailed`.
    """
    if code < 400 or phase in _OF_SESSION:
        return None
    reply = reply[:_LONGEST_REPLY]
    is_submission = "submission" in reply.lower()  # Microsoft's code 5.2.0 is used for all sorts
    if is_submission or not _NOT_OF_ACCOUNT.search(reply):
        for seconds, pattern in _QUOTAS:
            if pattern.search(reply):
                return Quota(seconds)
    return Quota(_WAIT_FOR_REQUESTS) if code == _TOO_MANY_REQUESTS else None
