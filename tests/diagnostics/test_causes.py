"""Real responses of servers, and the cause found for each."""

import smtplib
import socket
import ssl
from dataclasses import replace

import pytest

from tests.support import troubleshooting_page
from wagtail_smtp.causes import explain
from wagtail_smtp.causes.base import Failure
from wagtail_smtp.config.oauth import REASONS
from wagtail_smtp.exceptions import (
    DestinationRefused,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageTooLarge,
    RecipientsSuppressed,
    RedirectError,
    ReferenceUnreadable,
    SecretUnreadable,
    TokenRefused,
)

GMAIL, OUTLOOK = "smtp.gmail.com", "smtp.office365.com"

#: Phase, code, response, host and cause, as providers document or send them.
RESPONSES = [
    ("auth", 535, "5.7.8 Username and Password not accepted. For more information, go to "
     "https://support.google.com/mail/?p=BadCredentials a1-20020a05 - gsmtp", GMAIL,
     "app-password-needed"),
    ("auth", 534, "5.7.9 Application-specific password required. For more information, go to "
     "https://support.google.com/mail/?p=InvalidSecondFactor - gsmtp", GMAIL,
     "app-password-needed"),
    ("auth", 535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for "
     "the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.", OUTLOOK,
     "basic-authentication-off"),
    ("auth", 535, "5.7.139 Authentication unsuccessful, basic authentication is disabled.",
     OUTLOOK, "basic-authentication-off"),
    ("auth", 550, "5.7.30 Basic authentication is not supported for Client Submission.", OUTLOOK,
     "basic-authentication-off"),
    ("auth", 535, "5.7.3 Authentication unsuccessful", OUTLOOK, "login-refused"),
    ("auth", 535, "5.7.8 Error: authentication failed: UGFzc3dvcmQ6", "", "login-refused"),
    ("auth", 535, "Authentication credentials invalid", "", "login-refused"),
    ("auth", 454, "4.7.0 Too many login attempts, please try again later.", GMAIL,
     "login-limited"),
    ("mail", 553, "5.7.1 <a@example.com>: Sender address rejected: not owned by user b", "",
     "sender-not-allowed"),
    ("reply", 550, "5.7.60 SMTP; Client does not have permissions to send as this sender",
     OUTLOOK, "sender-not-allowed"),
    ("reply", 554, "Message rejected: Email address is not verified. The following identities "
     "failed the check in region EU-WEST-1: a@example.com", "", "sender-not-allowed"),
    ("mail", 530, "5.7.57 Client not authenticated to send mail.", OUTLOOK, "login-required"),
    ("rcpt", 554, "5.7.1 <b@example.org>: Relay access denied", "", "relaying-denied"),
    ("rcpt", 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", OUTLOOK,
     "relaying-denied"),
    ("rcpt", 450, "4.2.0 <b@example.org>: Recipient address rejected: Greylisted, see "
     "http://postgrey.schweikert.ch/help/example.org.html", "", "greylisted"),
    ("rcpt", 451, "4.7.1 Greylisting in action, please come back later", "", "greylisted"),
    ("reply", 421, "4.7.28 Our system has detected an unusual rate of unsolicited mail", GMAIL,
     "rate-limited"),
    ("reply", 454, "Throttling failure: Maximum sending rate exceeded.", "", "rate-limited"),
    ("mail", 432, "4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent"
     "_sending for more information.", OUTLOOK, "too-many-connections"),
    ("reply", 550, "5.4.5 Daily user sending quota exceeded. - gsmtp", GMAIL, "rate-limited"),
    ("unsupported", 0, "Postal does not support metadata", "", "not-supported"),
    ("auth", 401, "Unauthenticated.", "api.mailersend.com", "key-refused"),
    ("auth", 500, "Invalid_Key", "mandrillapp.com", "key-refused"),
    ("data", 429, "Too many requests", "api.resend.com", "provider-limit"),
    ("mail", 403, "Domain sandbox1.mailgun.org is not allowed to send: Free accounts are for test "
     "purposes only. Please upgrade or add the address to authorized recipients", "",
     "provider-sandbox"),
    ("mail", 402, "not_enough_credits", "api.brevo.com", "provider-account"),
    ("mail", 403, "The from address does not match a verified Sender Identity.",
     "api.sendgrid.com", "sender-not-verified"),
    ("mail", 400, "MessageRejected: Email address is not verified.", "", "sender-not-verified"),
    ("rcpt", 552, "5.2.2 The email account that you tried to reach is over quota.", GMAIL,
     "mailbox-full"),
    ("rcpt", 452, "4.2.2 Mailbox full", "", "mailbox-full"),
    ("reply", 552, "5.3.4 Message size exceeds fixed limit", "", "too-large"),
    ("mail", 552, "5.3.4 Your message exceeded Google's message size limits.", GMAIL,
     "too-large"),
    ("rcpt", 554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using "
     "zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1", "", "blocked"),
    ("rcpt", 550, "5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal "
     "from this list please visit https://sender.office.com/", OUTLOOK, "blocked"),
    ("reply", 550, "5.7.26 This mail has been blocked because the sender is unauthenticated. "
     "Gmail requires all senders to authenticate with either SPF or DKIM.", GMAIL,
     "domain-not-authenticated"),
    ("rcpt", 550, "5.1.1 <no@example.org>: Recipient address rejected: User unknown in local "
     "recipient table", "", "unknown-recipient"),
    ("rcpt", 451, "4.3.0 Temporary lookup failure", "", "try-later"),
    ("reply", 554, "5.6.0 Message contains bare LF and is rejected", "", "other"),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "code", "reply", "host", "slug"), RESPONSES)
def test_responses(phase, code, reply, host, slug):
    failure = Failure(phase, code, reply, host=host, port=587, encryption="starttls")
    assert explain(failure).slug == slug


def _verification(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


NO_STARTTLS = smtplib.SMTPNotSupportedError("no STARTTLS")
WRONG_VERSION = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
DROPPED = smtplib.SMTPServerDisconnected("the server closed the connection")


@pytest.mark.parametrize(
    ("phase", "cause", "port", "encryption", "slug"),
    [
        ("connect", socket.gaierror(-2, "Name or service not known"), 587, "starttls",
         "name-not-found"),
        ("connect", ConnectionRefusedError(), 587, "starttls", "refused"),
        ("connect", TimeoutError(), 25, "none", "port-25-blocked"),
        ("connect", TimeoutError(), 465, "ssl", "port-465-blocked"),
        ("connect", TimeoutError(), 587, "starttls", "port-587-blocked"),
        ("connect", TimeoutError(), 2525, "starttls", "no-answer"),
        ("connect", OSError(113, "No route to host"), 587, "starttls", "no-answer"),
        ("tls", WRONG_VERSION, 587, "ssl", "ssl-on-starttls-port"),
        ("banner", TimeoutError(), 465, "starttls", "starttls-on-ssl-port"),
        ("banner", DROPPED, 465, "none", "starttls-on-ssl-port"),
        ("banner", TimeoutError(), 2465, "starttls", "no-greeting"),
        ("starttls", NO_STARTTLS, 25, "starttls", "starttls-not-offered"),
        ("tls", _verification(10), 587, "starttls", "certificate-expired"),
        ("tls", _verification(62), 587, "starttls", "certificate-wrong-name"),
        ("tls", _verification(64), 587, "ssl", "certificate-wrong-name"),
        ("tls", _verification(18), 587, "ssl", "certificate-unknown-issuer"),
        ("tls", _verification(20), 587, "starttls", "certificate-unknown-issuer"),
        ("tls", WRONG_VERSION, 587, "starttls", "encryption-failed"),
        ("mail", DROPPED, 587, "starttls", "connection-lost"),
    ],
)  # fmt: skip
def test_causes(phase, cause, port, encryption, slug):
    error = MessageDeferred("no", phase=phase)
    error.__cause__ = cause
    assert explain(Failure.of(error, "mail.example.com", port, encryption)).slug == slug


def test_an_email_provider_is_not_found():
    error = MessageDeferred("no", phase="connect")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    failure = replace(Failure.of(error, "api.example.com", 443, "ssl"), uses_esp=True)
    assert explain(failure).slug == "provider-not-found"


@pytest.mark.parametrize(
    ("code", "reply", "slug"),
    [
        (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the "
         "Tenant. Visit https://aka.ms/smtp_auth_disabled", "smtp-auth-disabled"),
        (535, "5.7.3 Authentication unsuccessful", "token-refused"),
        (535, "5.7.8 Username and Password not accepted. - gsmtp", "token-refused"),
        (454, "4.7.0 Too many login attempts, please try again later.", "login-limited"),
    ],
)  # fmt: skip
def test_logins_with_oauth(code, reply, slug):
    failure = Failure("auth", code, reply, host=OUTLOOK, port=587, uses_oauth=True)
    assert explain(failure).slug == slug


@pytest.mark.parametrize("reason", REASONS)
def test_refused_tokens(reason):
    failure = Failure.of(TokenRefused("no", reason=reason), OUTLOOK, 587, "starttls")
    assert explain(failure).slug == f"oauth-{reason}"


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (DestinationRefused("no"), "not-allowed"),
        (SecretUnreadable("no"), "password-unreadable"),
        (ReferenceUnreadable("no"), "reference-unreadable"),
        (MessageTooLarge("no", phase="size"), "too-large"),
        (RedirectError("no"), "redirect-without-address"),
        (RecipientsSuppressed("no"), "suppressed"),
        (MessageOutcomeUnknown("no", phase="reply"), "outcome-unknown"),
        (MessageDeferred("no", phase="pool"), "sessions-in-use"),
    ],
)
def test_errors_of_the_plugin(error, slug):
    assert explain(Failure.of(error, "mail.example.com", 587, "starttls")).slug == slug


@pytest.mark.parametrize("code", [500, 503])
def test_server_errors_of_an_email_provider(code):
    provider = Failure("data", code, "oops", uses_esp=True)
    assert explain(provider).slug == "provider-error"
    assert explain(Failure("data", code, "oops")).slug != "provider-error"


def test_the_documentation_is_up_to_date():
    """Run ``python -m tests.support.troubleshooting_page`` to update it."""
    assert troubleshooting_page.PATH.read_text() == troubleshooting_page.text()
