"""Dialogues of real servers, each with the cause it leads to.

A test server plays each dialogue, for a test of a set and for real email.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.servers.hostile_faults import Fault
from tests.support.servers.provider_server import Answer


@dataclass(frozen=True)
class Dialogue:
    """What one server does.

    Attributes:
        faults: what the server does wrong.
        server: arguments of :class:`tests.support.servers.hostile.HostileServer`.
        values: values of the settings set.
        place: a method of ``Place`` in tests/diagnostics/test_dialogues.py to call first.
        is_live: whether such a set can be made live.
        provider: the response of an email provider, instead of an SMTP server.
        token: the identity provider's error and description, instead of an access token.
    """

    slug: str
    faults: tuple[Fault, ...] = ()
    server: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    is_live: bool = True
    provider: Answer | None = None
    token: tuple[str, str] | None = None

    def __str__(self) -> str:
        said = self.faults[0].reply or self.faults[0].kind if self.faults else self.place
        return f"{self.slug}: {said or self.token or self.server or self.values}"[:70]


def _said(slug: str, phase: Any, reply: str, **values: Any) -> Dialogue:
    return Dialogue(slug, (Fault(phase, "refuse", reply),), **values)


_NO_LOGIN = {"authentication": "none", "username": ""}
_OPEN = {"auth": False, "encryption": "none"}
#: Without PIPELINING: one command at a time.
_PLAIN = {"extensions": ("SIZE 35882577",)}
_TOKEN = {"mechanisms": ("XOAUTH2",), "takes_token": lambda user, token: True}

NETWORK = [
    Dialogue("not-allowed", values={"host": "169.254.169.254", "port": 25}),
    Dialogue("lookup-failed", place="no_name_servers"),
    Dialogue("name-not-found", place="no_such_name"),
    Dialogue("refused", (Fault("connect", "refuse"),)),
    Dialogue("port-25-blocked", place="blocked_port", values={"port": 25}),
    Dialogue("port-465-blocked", place="blocked_port", values={"port": 465}),
    Dialogue("port-587-blocked", place="blocked_port", values={"port": 587}),
    Dialogue("no-answer", place="blocked_port", values={"port": 2525}),
]

GREETING = [
    _said("too-many-connections", "banner",
          "421 4.7.0 mail.example.com Error: too many connections from 192.0.2.1"),
    _said("too-many-connections", "banner",
          "421 Too many concurrent SMTP connections; please try again later."),
    _said("too-many-connections", "mail", "432 4.3.2 Concurrent connections limit exceeded. "
          "Visit https://aka.ms/concurrent_sending for more information."),
    _said("name-rejected", "ehlo", "501 Syntactically invalid EHLO argument(s)"),
    _said("name-rejected", "ehlo", "501 5.5.4 Invalid domain name"),
    _said("name-rejected", "ehlo", "550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)"),
    _said("name-rejected", "ehlo", "421 4.7.0 Try again later, closing connection. (EHLO) - gsmtp"),
    _said("name-rejected", "rcpt",
          "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname"),
    _said("name-rejected", "rcpt", "450 4.7.1 <site>: Helo command rejected: Host not found"),
]  # fmt: skip

ENCRYPTION = [
    Dialogue("ssl-on-starttls-port", server={"encryption": "starttls"},
             values={"encryption": "ssl"}),
    Dialogue("starttls-on-ssl-port", server={"encryption": "ssl"}, place="behind_port",
             values={"encryption": "starttls", "port": 465}),
    Dialogue("no-greeting", server={"encryption": "ssl"}, values={"encryption": "starttls"}),
    Dialogue("no-greeting", (Fault("banner", "close"),)),
    Dialogue("starttls-not-offered", server={"encryption": "none"},
             values={"encryption": "starttls"}),
    _said("starttls-refused", "starttls", "454 4.7.0 TLS not available due to local problem"),
    _said("starttls-refused", "starttls", "454 4.3.3 TLS not available after start"),
    Dialogue("certificate-expired", (Fault("handshake", "expired"),)),
    Dialogue("certificate-not-valid-yet", place="early_certificate"),
    Dialogue("certificate-wrong-name", (Fault("handshake", "wrong name"),)),
    Dialogue("certificate-unknown-issuer", (Fault("handshake", "self-signed"),)),
    Dialogue("certificate-refused", place="odd_certificate", values={"ca_certificates": ""}),
    Dialogue("encryption-failed", (Fault("handshake", "close"),)),
    Dialogue("login-needs-encryption", server={"encryption": "starttls"},
             values={"encryption": "none"}),
    Dialogue("login-without-encryption", server={"encryption": "none"}, place="behind_port",
             values={"host": "mail.example.com", "port": 25}, is_live=False),
    _said("encryption-needed", "mail", "530 5.7.0 Must issue a STARTTLS command first",
          server=_OPEN, values=_NO_LOGIN),
    _said("encryption-needed", "mail", "530-5.7.0 Must issue a STARTTLS command first. For more\r\n"
          "530 5.7.0 information, go to https://support.google.com/a/answer/3221692 - gsmtp",
          server=_OPEN, values=_NO_LOGIN),
    _said("encryption-needed", "mail", "451 5.7.3 STARTTLS is required to send mail",
          server=_OPEN, values=_NO_LOGIN),
    _said("encryption-needed", "rcpt", "554 5.7.1 <site[192.0.2.1]>: Client host rejected: Session "
          "encryption is required", server=_OPEN, values=_NO_LOGIN),
    _said("encryption-needed", "auth",
          "538 5.7.11 Encryption required for requested authentication mechanism"),
]  # fmt: skip

LOGIN = [
    Dialogue("login-not-offered", server={"auth": False}),
    Dialogue("login-method", server={"mechanisms": ("GSSAPI", "NTLM")}),
    _said("login-method", "auth", "504 5.7.4 Unrecognized authentication type"),
    _said("login-method", "auth", "502 5.5.1 Command not implemented"),
    _said("app-password-needed", "auth", "535 5.7.8 Username and Password not accepted. For more "
          "information, go to https://support.google.com/mail/?p=BadCredentials - gsmtp"),
    _said("app-password-needed", "auth", "534 5.7.9 Application-specific password required. For "
          "more information, go to https://support.google.com/mail/?p=InvalidSecondFactor - gsmtp"),
    _said("app-password-needed", "auth", "534-5.7.14 <https://accounts.google.com/signin/continue>"
          "\r\n534 5.7.14 Please log in via your web browser and then try again. - gsmtp"),
    _said("basic-authentication-off", "auth", "535 5.7.139 Authentication unsuccessful, "
          "SmtpClientAuthentication is disabled for the Tenant. Visit "
          "https://aka.ms/smtp_auth_disabled for more information."),
    _said("basic-authentication-off", "auth",
          "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."),
    _said("basic-authentication-off", "auth", "535 5.7.139 Authentication unsuccessful, user is "
          "locked by your organization's security defaults policy. Contact your administrator."),
    _said("basic-authentication-off", "auth",
          "550 5.7.30 Basic authentication is not supported for Client Submission."),
    _said("login-limited", "auth", "454 4.7.0 Too many login attempts, please try again later."),
    _said("login-limited", "auth", "535 5.7.0 (#AUTH005) Too many bad auth attempts."),
    _said("login-unavailable", "auth", "454 4.7.0 Temporary authentication failure: Connection "
          "lost to authentication server"),
    _said("login-unavailable", "auth", "435 Unable to authenticate at present"),
    Dialogue("login-refused", server={"password": "another"}, values={"password": "wrong"}),
    _said("login-refused", "auth", "535 5.7.8 Error: authentication failed"),
    _said("login-refused", "auth", "535 5.7.3 Authentication unsuccessful"),
    _said("login-refused", "auth", "535 Incorrect authentication data"),
    _said("login-refused", "auth", "535 5.7.0 You are not authorized to use this server"),
    _said("login-refused", "auth", "535 5.7.0 authentication rejected, relay denied"),
    _said("login-refused", "auth", "535 5.7.139 Authentication unsuccessful, the user credentials "
          "were incorrect."),
    Dialogue("connection-lost", (Fault("auth", "close"),)),
    Dialogue("server-silent", (Fault("auth", "hang"),), values={"timeout": 1}),
]  # fmt: skip

POLICY = [
    _said("account-blocked", "auth", "525 5.7.13 User account disabled"),
    _said("account-blocked", "auth", "535 Your account is temporarily locked"),
    _said("account-blocked", "end", "550 5.1.8 Access denied, bad outbound sender"),
    _said("account-blocked", "mail", "550 Sender suspended because of spam"),
    Dialogue("login-required", values=_NO_LOGIN),
    _said("login-required", "mail", "530 5.7.57 Client not authenticated to send mail.",
          server=_OPEN, values=_NO_LOGIN),
    _said("login-required", "mail", "530 5.7.0 Authentication Required. - gsmtp",
          server=_OPEN, values=_NO_LOGIN),
    _said("login-required", "mail", "550 5.7.1 Authentication required",
          server=_OPEN, values=_NO_LOGIN),
    _said("login-required", "rcpt", "550 Please turn on SMTP Authentication in your mail client.",
          server=_OPEN, values=_NO_LOGIN),
    _said("login-required", "rcpt",
          "553 5.7.1 <shop@example.com>: Sender address rejected: not logged in",
          server=_OPEN, values=_NO_LOGIN),
    _said("no-reverse-name", "rcpt",
          "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]"),
    _said("no-reverse-name", "end", "550 5.7.25 The IP address sending this message does not have "
          "a PTR record setup - gsmtp"),
    _said("blocked", "rcpt", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using "
          "zen.spamhaus.org"),
    _said("blocked", "banner", "554 5.7.1 [192.0.2.1] is listed in a DNSBL"),
    _said("blocked", "rcpt", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]."),
    _said("domain-not-authenticated", "end", "550 5.7.26 This mail has been blocked because the "
          "sender is unauthenticated. Gmail requires all senders to authenticate with either SPF "
          "or DKIM."),
    _said("domain-not-authenticated", "end", "550 5.7.515 Access denied, sending domain "
          "EXAMPLE.COM doesn't meet the required authentication level."),
    _said("domain-not-authenticated", "mail", "550 5.7.23 Message rejected due to: SPF fail"),
    _said("sender-unverifiable", "rcpt", "550-Verification failed for <shop@example.com>\r\n"
          "550-No Such User Here\r\n550 Sender verify failed"),
    _said("sender-unverifiable", "mail",
          "553 5.1.8 Domain of sender address shop@example.com does not exist"),
    _said("sender-unverifiable", "rcpt",
          "450 4.1.8 <shop@example.com>: Sender address rejected: Domain not found"),
    _said("sender-unverifiable", "mail", "504 5.5.2 <webmaster@localhost>: Sender address "
          "rejected: need fully-qualified address"),
    _said("sender-not-allowed", "end",
          "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    _said("sender-not-allowed", "end",
          "554 5.2.252 SendAsDenied; box@example.com not allowed to send as shop@example.com"),
    _said("sender-not-allowed", "mail",
          "553 5.7.1 <a@example.com>: Sender address rejected: not owned by user b"),
    _said("sender-not-allowed", "end", "554 Message rejected: Email address is not verified. The "
          "following identities failed the check in region EU-WEST-1: a@example.com"),
    _said("sender-not-allowed", "end", "553 Relaying disallowed as shop@example.com"),
    _said("sender-not-allowed", "mail", "550 Sender address is not allowed."),
    _said("relaying-denied", "rcpt", "554 5.7.1 <someone@example.org>: Relay access denied"),
    _said("relaying-denied", "rcpt", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted "
          "domain"),
    _said("relaying-denied", "rcpt", "550 relay not permitted"),
    _said("relaying-denied", "rcpt", "550 5.7.1 someone@example.org... Relaying denied"),
    _said("relaying-denied", "rcpt",
          "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
    _said("relaying-denied", "mail", "550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP "
          "address you've registered in your Google Workspace SMTP Relay service doesn't match"),
    _said("no-service", "banner", "554 5.3.2 mail.example.com ESMTP not accepting messages"),
    _said("no-service", "banner", "521 5.3.2 mail.example.com does not accept mail"),
]  # fmt: skip

MESSAGE = [
    Dialogue("redirect-without-address", place="redirect_without_address"),
    Dialogue("outcome-unknown", (Fault("end", "close"),)),
    Dialogue("too-large", server={"extensions": ("SIZE 100",)}),
    _said("too-large", "end", "552 5.3.4 Message size exceeds fixed limit"),
    _said("too-large", "mail", "552 5.3.4 Your message exceeded Google's message size limits."),
    _said("too-many-recipients", "rcpt", "550 5.5.3 Too many recipients"),
    _said("greylisted", "rcpt",
          "450 4.2.0 <someone@example.org>: Recipient address rejected: Greylisted"),
    _said("greylisted", "rcpt", "451 4.7.1 Greylisting in action, please come back later"),
    _said("rate-limited", "end", "550 5.4.5 Daily user sending quota exceeded. - gsmtp"),
    _said("rate-limited", "end", "421 4.7.28 Our system has detected an unusual rate of mail"),
    _said("rate-limited", "end", "454 Throttling failure: Maximum sending rate exceeded."),
    _said("rate-limited", "end",
          "550 5.2.2 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
    _said("mailbox-full", "rcpt",
          "552 5.2.2 The email account that you tried to reach is over quota."),
    _said("mailbox-full", "rcpt", "452 4.2.2 Mailbox full"),
    _said("recipient-disabled", "rcpt",
          "550 5.2.1 The email account that you tried to reach is inactive."),
    _said("unknown-recipient", "rcpt",
          "550 5.1.1 <someone@example.org>: Recipient address rejected: User unknown"),
    _said("unknown-recipient", "rcpt", "550 Unrouteable address"),
    _said("unknown-recipient", "rcpt", "550 5.4.1 Recipient address rejected: Access denied. "
          "[AM4PEPF00027A63.eurprd04.prod.outlook.com]"),
    _said("unwanted", "end", "550 5.7.1 Message rejected as spam by Content Filtering."),
    _said("unwanted", "end", "552 5.7.0 This message was blocked because its content presents a "
          "potential security issue. - gsmtp"),
    _said("sender-refused", "mail", "550 5.7.1 Access denied"),
    _said("recipient-refused", "rcpt",
          "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; not authenticated"),
    _said("recipient-refused", "rcpt", "550 5.7.1 <someone@example.org>: Recipient address "
          "rejected: Access denied"),
    _said("try-later", "rcpt", "451 4.3.0 Temporary lookup failure"),
    _said("try-later", "mail", "452 4.3.1 Insufficient system storage"),
    Dialogue("server-silent", (Fault("mail", "hang"),), values={"timeout": 1}, server=_PLAIN),
    Dialogue("not-understood", (Fault("mail", "garbage"),), server=_PLAIN),
    Dialogue("connection-lost", (Fault("mail", "close"),), server=_PLAIN),
    _said("other", "end", "554 5.6.0 Message contains bare LF and is rejected"),
]  # fmt: skip

TOKENS = [
    Dialogue("oauth-not-allowed", token=("", ""), place="internal_token_address"),
    Dialogue("oauth-unreachable", token=("temporarily_unavailable", "")),
    Dialogue("oauth-unreachable", token=("", ""), place="no_identity_provider"),
    Dialogue("oauth-secret-expired", token=(
        "invalid_client", "AADSTS7000222: The provided client secret keys are expired.")),
    Dialogue("oauth-client-refused", token=(
        "invalid_client", "AADSTS7000215: Invalid client secret provided.")),
    Dialogue("oauth-admin-consent-needed", token=(
        "access_denied", "AADSTS90094: The grant requires admin permission.")),
    Dialogue("oauth-consent-needed", token=("invalid_grant", "AADSTS65001: not consented to")),
    Dialogue("oauth-consent-needed", token=("", ""), place="no_consent", is_live=False),
    Dialogue("oauth-consent-ended", token=(
        "invalid_grant", "Token has been expired or revoked.")),
    Dialogue("oauth-consent-denied", token=("access_denied", "The user said no")),
    Dialogue("oauth-not-delegated", token=(
        "unauthorized_client",
        "Client is unauthorized to retrieve access tokens using this method.")),
    Dialogue("oauth-mailbox-unknown", token=("invalid_grant", "Invalid email or User ID")),
    Dialogue("oauth-refused", token=("invalid_scope", "no such scope")),
    _said("smtp-auth-disabled", "auth", "535 5.7.139 Authentication unsuccessful, "
          "SmtpClientAuthentication is disabled for the Mailbox.", token=("", ""), server=_TOKEN),
    _said("token-refused", "auth", "535 5.7.3 Authentication unsuccessful", token=("", ""),
          server=_TOKEN),
    _said("token-refused", "auth", "535 5.7.139 Authentication unsuccessful, the user "
          "credentials were incorrect.", token=("", ""), server=_TOKEN),
    _said("login-limited", "auth", "454 4.7.0 Too many login attempts, please try again later.",
          token=("", ""), server=_TOKEN),
    Dialogue("login-method", token=("", ""), server={"mechanisms": ("PLAIN",)}),
]  # fmt: skip

PROVIDERS = [
    Dialogue("provider-not-found", provider=Answer(), place="no_such_name"),
    Dialogue("key-refused", provider=Answer(401, {"message": "Unauthorized"})),
    Dialogue("provider-limit", provider=Answer(429, {"message": "Too many requests"})),
    Dialogue("provider-sandbox", provider=Answer(403, {
        "message": "Free accounts are for test purposes only."})),
    Dialogue("provider-account", provider=Answer(402, {"message": "not_enough_credits"})),
    Dialogue("sender-not-verified", provider=Answer(403, {
        "message": "The example.com domain is not verified."})),
    Dialogue("provider-error", provider=Answer(503, {"message": "oops"})),
]  # fmt: skip

DIALOGUES = [*NETWORK, *GREETING, *ENCRYPTION, *LOGIN, *POLICY, *MESSAGE, *TOKENS, *PROVIDERS]
#: Causes that need more than a server. tests/diagnostics/test_dialogues.py tests them too.
ELSEWHERE = (
    "password-unreadable",
    "reference-unreadable",
    "sessions-in-use",
    "not-supported",
    "standard-not-configured",
    "suppressed",
    "mailbox-folder",
    "mailbox-unreachable",
    "limit-reached",
)
