"""Causes of failed OAuth 2 logins: no access token, or a server that rejects it."""

from collections.abc import Callable

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure
from wagtail_smtp.diagnostics.causes.login import is_switched_off
from wagtail_smtp.exceptions import TokenRefused


def _because(reason: str) -> Callable[[Failure], bool]:
    return lambda failure: (
        isinstance(failure.error, TokenRefused) and failure.error.reason == reason
    )


TOKENS = (
    Cause(
        "oauth-not-allowed",
        _("This site is not allowed to connect to the identity provider's address"),
        _(
            "Check the token address for typos. To protect your network, the site doesn't connect "
            "to internal addresses. A developer can allow them with "
            "WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        _because("not-allowed"),
    ),
    Cause(
        "oauth-unreachable",
        _("The identity provider doesn't respond"),
        _(
            "It could not be reached, or is out of order. The site tries again automatically. If "
            "it keeps happening, check that your site's server is allowed to connect to it."
        ),
        _because("unreachable"),
    ),
    Cause(
        "oauth-secret-expired",
        _("The client secret has expired"),
        _(
            "Create a new one in the identity provider's console. Enter it in the settings set, "
            "save, and use “Reload application”. Put its expiry date in your calendar."
        ),
        _because("secret-expired"),
        example="invalid_client: AADSTS7000222: The provided client secret keys are expired.",
        guide=True,
    ),
    Cause(
        "oauth-client-refused",
        _("The identity provider doesn't know this client, or the client secret is wrong"),
        _(
            "Check the tenant and client ID. Enter the value of the client secret, not its ID. The "
            "value is shown only once: if you have lost it, create a new secret."
        ),
        _because("client-refused"),
        example="invalid_client: AADSTS7000215: Invalid client secret provided.",
        guide=True,
    ),
    Cause(
        "oauth-admin-consent-needed",
        _("An administrator of your organisation must give consent"),
        _(
            "Ask an administrator to click “Connect” on the settings set's page, or to grant the "
            "permission in the organisation's console."
        ),
        _because("admin-consent-needed"),
        example="access_denied: AADSTS90094: The grant requires admin permission.",
        guide=True,
    ),
    Cause(
        "oauth-consent-needed",
        _("No one has allowed this site to send email yet"),
        _("Open the settings set, save it and click “Connect”."),
        _because("consent-needed"),
    ),
    Cause(
        "oauth-consent-ended",
        _("The consent is no longer valid"),
        _(
            "It was withdrawn, it has expired, or the account's password was changed. Open the "
            "settings set and click “Connect” again. For a service account, check the clock of "
            "your site's server, and that the key still exists."
        ),
        _because("consent-ended"),
        example="invalid_grant: Token has been expired or revoked.",
        guide=True,
    ),
    Cause(
        "oauth-consent-denied",
        _("Consent was declined"),
        _("Click “Connect” again, log in to the mailbox that sends the email, and allow access."),
        _because("consent-denied"),
    ),
    Cause(
        "oauth-not-delegated",
        _("This client is not allowed to send for the mailbox"),
        _(
            "Google: in the Admin console, under “Domain-wide delegation”, add the service "
            "account's client ID with the scope https://mail.google.com/. Other identity "
            "providers: allow the client to log in this way."
        ),
        _because("not-delegated"),
        example="unauthorized_client: Client is unauthorized to retrieve access tokens using "
        "this method.",
        guide=True,
    ),
    Cause(
        "oauth-mailbox-unknown",
        _("The identity provider doesn't know this mailbox"),
        _("Check the username. It must be the full address of a mailbox in your organisation."),
        _because("mailbox-unknown"),
        example="invalid_grant: Invalid email or User ID",
    ),
    Cause(
        "oauth-refused",
        _("The identity provider didn't issue an access token"),
        _(
            "Its response says why. Compare the scope and addresses with the identity provider's "
            "instructions."
        ),
        lambda failure: isinstance(failure.error, TokenRefused),
        guide=True,
    ),
)


def _is_oauth_login(failure: Failure) -> bool:
    return failure.phase == "auth" and failure.uses_oauth


LOGIN_WITH_TOKEN = (
    Cause(
        "smtp-auth-disabled",
        _("Authenticated SMTP is turned off for the organisation or mailbox"),
        _(
            "In the Microsoft 365 admin center, open the mailbox, “Mail” and “Manage email apps”, "
            "and turn on “Authenticated SMTP”. This works even if it is off for the whole "
            "organisation. Security defaults also turn it off."
        ),
        lambda f: _is_oauth_login(f) and is_switched_off(f),
        example="535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled "
        "for the Mailbox.",
        guide=True,
    ),
    Cause(
        "token-refused",
        _("The server doesn't accept the access token"),
        _(
            "The username must be the mailbox that the token is for, and the mailbox needs a "
            "licence. If the site logs in as itself, an administrator must give the client access "
            "to the mailbox. The scope must be the one for SMTP."
        ),
        lambda f: _is_oauth_login(f) and f.code in (535, 534, 550, 554),
        example="535 5.7.3 Authentication unsuccessful",
        guide=True,
    ),
)
