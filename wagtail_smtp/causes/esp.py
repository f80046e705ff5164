"""Causes recognised from an email provider's response, whose codes are HTTP status codes."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.causes.base import Cause, Failure

#: Status codes that blame the request, the sender or the account.
_REFUSALS = (400, 402, 403, 404, 422)


def _is_key_refused(failure: Failure) -> bool:
    return failure.phase == "auth" and (
        failure.uses_esp or failure.code in (400, 401, 403) or failure.says("invalid_key")
    )


PROVIDER = (
    Cause(
        "not-supported",
        _("This settings set can't send this kind of message"),
        _(
            "Provider templates and per-recipient data only work with a settings set that uses an "
            "email provider's API. Not every provider supports every feature. Use a suitable set "
            "for this email."
        ),
        lambda f: f.phase == "unsupported",
    ),
    Cause(
        "key-refused",
        _("The email provider rejected this key"),
        _(
            "Enter the key again, without spaces. Check that it belongs to this account and region "
            "and may send email. It must be an API key, not an SMTP key."
        ),
        _is_key_refused,
    ),
    Cause(
        "provider-limit",
        _("The email provider's sending limit has been reached"),
        _(
            "Enter your email provider's limits in the settings set, so that the site keeps to "
            "them. To send more, ask your email provider for a higher limit, or add a backup."
        ),
        lambda f: f.code == 429,
    ),
    Cause(
        "provider-sandbox",
        _("This is a trial (sandbox) account and can only send to approved addresses"),
        _(
            "Add the recipient to the account's approved addresses, send from your own domain, or "
            "ask the email provider to lift the restriction."
        ),
        lambda f: f.code in _REFUSALS and f.says("sandbox", "test purposes", "testing emails"),
    ),
    Cause(
        "provider-account",
        _("The account at the email provider can't send right now"),
        _(
            "Log in to the account at the email provider. It may be unpaid, suspended or out of "
            "credits."
        ),
        lambda f: (
            f.code == 402 or (f.code in _REFUSALS and f.says("credits?\\b", "suspended", "paused"))
        ),
    ),
    Cause(
        "sender-not-verified",
        _("The email provider doesn't send for this sender's domain"),
        _(
            "Verify the sender address's domain with the email provider, or enter a sender address "
            "that is verified. Check that the settings set names the region where it is verified."
        ),
        lambda f: f.phase == "mail" and f.code in _REFUSALS,
    ),
    Cause(
        "provider-error",
        _("The email provider has a problem"),
        _(
            "Wait, and check the email provider's status page. If your site uses the outbox, it "
            "tries again automatically."
        ),
        lambda f: f.uses_esp and f.code >= 500,
    ),
)
