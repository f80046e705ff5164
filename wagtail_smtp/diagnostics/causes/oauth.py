"""Causes around OAuth 2: no access token, or a server that doesn't take it."""

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
        _("The identity provider's address may not be connected to"),
        _(
            "Check the token address for typing errors. For safety the site connects to no "
            "internal addresses; a developer can allow them with "
            "WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        _because("not-allowed"),
    ),
    Cause(
        "oauth-unreachable",
        _("The identity provider doesn't answer"),
        _(
            "It could not be reached, or is out of order. The site tries again by itself; if it "
            "stays, check that the site's server may connect to it."
        ),
        _because("unreachable"),
    ),
    Cause(
        "oauth-secret-expired",
        _("The client secret has expired"),
        _(
            "Make a new one in the provider's console, enter it in the settings set, save and "
            "reload. Note its last day, since it will expire as well."
        ),
        _because("secret-expired"),
        example="invalid_client: AADSTS7000222: The provided client secret keys are expired.",
        guide=True,
    ),
    Cause(
        "oauth-client-refused",
        _("The identity provider doesn't know this client, or its secret is wrong"),
        _(
            "Check tenant and client ID. Enter the value of the client secret, not its ID; it is "
            "shown only once, so make a new one if it is lost."
        ),
        _because("client-refused"),
        example="invalid_client: AADSTS7000215: Invalid client secret provided.",
        guide=True,
    ),
    Cause(
        "oauth-admin-consent-needed",
        _("An administrator of the organisation has to consent"),
        _(
            "Ask one to press “Connect” on the settings set's page, or to grant the permission in "
            "the organisation's console."
        ),
        _because("admin-consent-needed"),
        example="access_denied: AADSTS90094: The grant requires admin permission.",
        guide=True,
    ),
    Cause(
        "oauth-consent-needed",
        _("Nobody has consented yet that the site may send"),
        _("Open the settings set, save it, and press “Connect”."),
        _because("consent-needed"),
    ),
    Cause(
        "oauth-consent-ended",
        _("The consent has ended"),
        _(
            "It was withdrawn, has expired, or the account's password was changed. Open the "
            "settings set and press “Connect” again. For a service account, check the machine's "
            "clock and that the key was not deleted."
        ),
        _because("consent-ended"),
        example="invalid_grant: Token has been expired or revoked.",
        guide=True,
    ),
    Cause(
        "oauth-consent-denied",
        _("The consent was declined"),
        _("Press “Connect” again, log in as the mailbox that sends, and allow the access."),
        _because("consent-denied"),
    ),
    Cause(
        "oauth-not-delegated",
        _("This client may not act for the mailbox"),
        _(
            "Google: in the Admin console, under “Domain-wide delegation”, add the service "
            "account's client ID with the scope https://mail.google.com/. Others: allow the client "
            "this way to log in."
        ),
        _because("not-delegated"),
        example="unauthorized_client: Client is unauthorized to retrieve access tokens using "
        "this method.",
        guide=True,
    ),
    Cause(
        "oauth-mailbox-unknown",
        _("The identity provider doesn't know the mailbox"),
        _("Check the username: it is the whole address of a mailbox of the organisation."),
        _because("mailbox-unknown"),
        example="invalid_grant: Invalid email or User ID",
    ),
    Cause(
        "oauth-refused",
        _("The identity provider gave no access token"),
        _("Its words say why. Check scope and addresses as the provider describes them."),
        lambda failure: isinstance(failure.error, TokenRefused),
        guide=True,
    ),
)


def _of_login(failure: Failure) -> bool:
    return failure.phase == "auth" and failure.uses_oauth


LOGIN_WITH_TOKEN = (
    Cause(
        "smtp-auth-disabled",
        _("Authenticated SMTP is switched off for the organisation or the mailbox"),
        _(
            "In Microsoft's admin center, open the mailbox, “Mail” and “Manage email apps”, and "
            "turn on “Authenticated SMTP”. Where the whole organisation has it off, that switch of "
            "the mailbox still counts. Security defaults switch it off as well."
        ),
        lambda f: _of_login(f) and is_switched_off(f),
        example="535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled "
        "for the Mailbox.",
        guide=True,
    ),
    Cause(
        "token-not-taken",
        _("The server doesn't take the access token"),
        _(
            "The username must be the mailbox the token is for, and that mailbox needs a licence. "
            "Where the site logs in as itself, an administrator has to give the client access to "
            "the mailbox; the scope must be the one for SMTP."
        ),
        lambda f: _of_login(f) and f.code in (535, 534, 550, 554),
        example="535 5.7.3 Authentication unsuccessful",
        guide=True,
    ),
)
