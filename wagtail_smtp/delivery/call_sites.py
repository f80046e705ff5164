"""Code that sends email, and the category of what it sends.

A call site is the module and the qualified name of a function.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.apps import apps

from wagtail_smtp.categories import ERROR, FORM, NOTIFICATION, SECURITY

Site = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Package:
    """A package that sends one-time codes, login links or password resets.

    Its functions exist only where all of ``apps`` are installed.
    """

    name: str
    apps: tuple[str, ...]
    sites: tuple[Site, ...]


_ADAPTER = "allauth.account.adapter"
_FLOWS = "allauth.account.internal.flows"

#: What projects override is named together with the code that calls it. Code that sends signals
#: as well is left out: a receiver may send email of another category.
#:
#: Read in django-allauth 65.22, django-otp 1.7, djoser 2.3 and dj-rest-auth 7.2. Some packages
#: need no entry: django-two-factor-auth 1.18 sends with django-otp, djoser and dj-rest-auth also
#: with Django's form, and wagtail-2fa 1.8 and django-sesame 3.2 send no email.
PACKAGES = (
    Package(
        "django-allauth",
        ("allauth.account",),
        (
            (_ADAPTER, "DefaultAccountAdapter.send_mail"),
            (_ADAPTER, "DefaultAccountAdapter.send_account_already_exists_mail"),
            (_ADAPTER, "DefaultAccountAdapter.send_confirmation_mail"),
            (_ADAPTER, "DefaultAccountAdapter.send_password_reset_mail"),
            ("allauth.account.models", "EmailConfirmationMixin.send"),
            (
                f"{_FLOWS}._authenticate_by_code",
                "BaseConfirmAuthenticationCodeProcess.send_by_email",
            ),
            (f"{_FLOWS}.password_reset", "request_password_reset"),
            (f"{_FLOWS}.password_reset_by_code", "PasswordResetVerificationProcess.send"),
        ),
    ),
    Package(
        "django-otp",
        ("django_otp.plugins.otp_email",),
        (
            ("django_otp.plugins.otp_email.models", "EmailDevice.generate_challenge"),
            ("django_otp.plugins.otp_email.models", "EmailDevice.send_mail"),
        ),
    ),
    Package(
        "djoser",
        ("djoser",),
        (
            ("djoser.email", "BaseEmailMessage.send"),
            ("djoser.views", "UserViewSet.resend_activation"),
            ("djoser.views", "UserViewSet.reset_password"),
            ("djoser.views", "UserViewSet.reset_username"),
        ),
    ),
    Package(
        "dj-rest-auth",
        ("dj_rest_auth", "allauth", "allauth.account"),
        (("dj_rest_auth.forms", "AllAuthPasswordResetForm.save"),),
    ),
)

CALL_SITES: dict[Site, str] = {
    # ``save`` as well, since projects override ``send_mail``.
    ("django.contrib.auth.forms", "PasswordResetForm.save"): SECURITY,
    ("django.contrib.auth.forms", "PasswordResetForm.send_mail"): SECURITY,
    ("wagtail.admin.mail", "send_notification"): NOTIFICATION,
    ("wagtail.admin.mail", "EmailNotificationMixin.send_emails"): NOTIFICATION,
    ("wagtail.contrib.forms.models", "EmailFormMixin.send_mail"): FORM,
    ("django.core.mail", "mail_admins"): ERROR,
    ("django.utils.log", "AdminEmailHandler.emit"): ERROR,
    **{site: SECURITY for package in PACKAGES for site in package.sites},
}


def exists(site: Site) -> bool:
    """Whether code that runs can have this name."""
    module, name = site
    try:
        found: Any = import_module(module)
    except Exception:  # whatever a module of a package raises, what is in it can't run
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    # What is inherited runs under the name of the class that has it.
    found = getattr(found, "__wrapped__", found)
    return (getattr(found, "__module__", ""), getattr(found, "__qualname__", "")) == site


def missing() -> Iterator[tuple[Package, list[Site]]]:
    """Installed packages that don't have all of their functions any more, with these."""
    for package in PACKAGES:
        if all(map(apps.is_installed, package.apps)):
            gone = [site for site in package.sites if not exists(site)]
            if gone:
                yield package, gone
