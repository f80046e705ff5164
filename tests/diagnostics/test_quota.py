"""Which responses report a quota of the account, so that the set isn't used for a while."""

import pytest

from wagtail_smtp.causes import quota

DAY, HOUR, MINUTE, MOMENT = 3600, 600, 60, 5

REPORTS = [
    (DAY, 550, "5.4.5 Daily user sending limit exceeded. For more information go to - gsmtp"),
    (DAY, 550, "5.4.5 Daily SMTP relay limit exceeded for user."),
    (DAY, 550, "5.1.90 Your message can't be sent because you've reached your daily limit"),
    (DAY, 550, "5.7.232 Your message can't be sent because your trial tenant has exceeded its"),
    (DAY, 550, "5.7.233 Your message can't be sent because your tenant exceeded its daily limit"),
    (DAY, 554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to"),
    (DAY, 454, "Throttling failure: Daily message quota exceeded."),
    (DAY, 554, "User me@example.com has exceeded its 24-hour sending limit. Messages to 25"),
    (DAY, 451, "4.7.1 You have reached your limit of 500 emails per day"),
    (DAY, 429, "daily_quota_exceeded: You have reached your daily email sending quota."),
    (DAY, 451, "Authentication failed: Maximum credits exceeded"[23:]),
    (HOUR, 421, "4.7.28 Gmail has detected an unusual rate of email originating from your SPF"),
    (HOUR, 550, "5.4.6 Unusual sending activity detected. Please try after sometime."),
    (HOUR, 550, "Domain example.com has exceeded the max emails per hour (250/250 (100%)) allowed"),
    (HOUR, 550, "exceeded hour limit"),
    (
        HOUR,
        554,
        "5.7.1 <ada@example.org>: Recipient rejected: You have exceeded your Outmail quota",
    ),
    (HOUR, 450, "Requested mail action not taken: sending limit exceeded"),
    (MINUTE, 451, "4.3.2 The message submission rate for this client has exceeded the limit"),
    (MINUTE, 451, '4.7.1 Ratelimit "hostinger_out_ratelimit" exceeded'),
    (MINUTE, 450, "4.7.1 Error: too much mail from 192.0.2.1"),
    (MOMENT, 454, "Throttling failure: Maximum sending rate exceeded."),
    (MOMENT, 429, "Too many requests. You can only make 2 requests per second."),
]

#: About one recipient, one message, the session, or nothing of the kind.
OTHERS = [
    ("rcpt", 452, "4.2.2 The email account that you tried to reach is over quota"),
    ("rcpt", 552, "5.2.2 Quota exceeded (mailbox for user is full)"),
    ("rcpt", 450, "4.2.1 The user you are trying to contact is receiving mail at a rate that"),
    ("rcpt", 452, "4.5.3 Too many recipients"),
    ("rcpt", 452, "4.3.1 Insufficient system storage"),
    ("reply", 552, "5.3.4 Message size exceeds fixed limit"),
    ("mail", 421, "4.7.0 Error: too many connections from 192.0.2.1"),
    ("mail", 432, "4.3.2 Concurrent connections limit exceeded."),
    ("mail", 432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
    ("reply", 550, "5.7.1 Message rejected as spam"),
    ("rcpt", 450, "4.2.0 Recipient address rejected: Greylisted"),
    ("auth", 454, "4.7.0 Too many login attempts, daily limit exceeded"),
    ("banner", 421, "4.7.28 Our system has detected an unusual rate"),
    ("reply", 250, "Your daily limit is nearly reached"),
    ("reply", 554, "5.0.0 Nothing in particular"),
]


@pytest.mark.parametrize("phase", ["mail", "rcpt", "reply"])
@pytest.mark.parametrize(("seconds", "code", "reply"), REPORTS)
def test_a_quota(phase, seconds, code, reply):
    found = quota.find(phase, code, reply)
    assert found is not None
    assert found.seconds == seconds


@pytest.mark.parametrize(("phase", "code", "reply"), OTHERS)
def test_something_else(phase, code, reply):
    assert quota.find(phase, code, reply) is None


def test_a_long_response_is_not_slow():
    assert quota.find("reply", 550, "daily " * 100_000) is None
