"""Causes that a provider's answer tells; its codes are those of HTTP, which SMTP doesn't have."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure

#: Answers that say the fault lies with the request, its sender or its account.
_NO = (400, 402, 403, 404, 422)


def _is_key_refused(failure: Failure) -> bool:
    return failure.phase == "auth" and (
        failure.is_provider or failure.code in (400, 401, 403) or failure.says("invalid_key")
    )


PROVIDER = (
    Cause(
        "not-supported",
        _("This set can't carry such a message"),
        _(
            "Templates and data of each recipient's own need a set whose transport is a provider, "
            "and not every provider knows every feature. Use such a set for this mail."
        ),
        lambda f: f.phase == "unsupported",
    ),
    Cause(
        "key-refused",
        _("The provider doesn't know this key"),
        _(
            "Enter the key again, without spaces. Check that it belongs to this account and "
            "region, that it may send email, and that it is an API key, not one for SMTP."
        ),
        _is_key_refused,
    ),
    Cause(
        "provider-limit",
        _("The provider takes no more messages for now"),
        _("Wait, send less at once, or ask the provider for a higher limit."),
        lambda f: f.code == 429,
    ),
    Cause(
        "provider-sandbox",
        _("The account is for trying out and sends to few addresses only"),
        _(
            "Add the recipient to those the provider allows, send from a domain of your own, or "
            "ask the provider to open the account."
        ),
        lambda f: f.code in _NO and f.says("sandbox", "test purposes", "testing emails"),
    ),
    Cause(
        "provider-account",
        _("The provider's account can't send now"),
        _("Log in at the provider: the account may be unpaid, suspended or out of credits."),
        lambda f: f.code == 402 or (f.code in _NO and f.says("credits?\\b", "suspended", "paused")),
    ),
    Cause(
        "sender-not-verified",
        _("The provider doesn't send for this sender's domain"),
        _(
            "Let the provider verify the domain of the sender address, and check that the set "
            "names the region in which it is verified. Or set a sender address that is."
        ),
        lambda f: f.phase == "mail" and f.code in _NO,
    ),
    Cause(
        "provider-trouble",
        _("The provider has trouble"),
        _("Wait, and look at the provider's status page. With the outbox the site tries again."),
        lambda f: f.is_provider and f.code >= 500,
    ),
)
