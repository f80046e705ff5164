"""Which category and site a message has, and where it goes: redirect, and candidates in order.

A source of categories is the call site: the code that sends the message.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.mail import EmailMessage

from wagtail_smtp.categories import (
    ALERT,
    ERROR,
    FORM,
    NOTIFICATION,
    OTHER,
    SECURITY,
    context_categories,
    validate_category,
)
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import is_email_address, with_current_domains
from wagtail_smtp.config.values import OTHER_SITE, Configuration, SettingsSetConfig
from wagtail_smtp.delivery import site as message_site
from wagtail_smtp.delivery.site import NO_SITE, MessageSite
from wagtail_smtp.exceptions import EnvironmentMismatch, RedirectError
from wagtail_smtp.live import environments
from wagtail_smtp.runtime import project
from wagtail_smtp.sites import context_site, current_request
from wagtail_smtp.transports import standard

HEADER = "X-Email-Category"
ATTRIBUTE = "email_category"

#: How many stack frames are searched for a call site, which takes up to 7 µs.
_FRAMES = 40

#: A call site: the module and the qualified name of a function.
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

#: Methods that projects override are listed with the code that calls them. Code that also sends
#: signals is not listed, because a receiver may send email of another category.
#:
#: Checked with django-allauth 65.22, django-otp 1.7, djoser 2.3 and dj-rest-auth 7.2. Some packages
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
    # ``save`` too, because projects override ``send_mail``.
    ("django.contrib.auth.forms", "PasswordResetForm.save"): SECURITY,
    ("django.contrib.auth.forms", "PasswordResetForm.send_mail"): SECURITY,
    ("wagtail.admin.mail", "send_notification"): NOTIFICATION,
    ("wagtail.admin.mail", "EmailNotificationMixin.send_emails"): NOTIFICATION,
    ("wagtail.contrib.forms.models", "EmailFormMixin.send_mail"): FORM,
    ("django.core.mail", "mail_admins"): ERROR,
    ("django.utils.log", "AdminEmailHandler.emit"): ERROR,
    **{site: SECURITY for package in PACKAGES for site in package.sites},
}


@dataclass(frozen=True, slots=True)
class Classification:
    """A category and its source: ``message``, ``context``, ``mailer``, ``call site`` or
    ``default``; and the site."""

    category: str
    source: str
    site: MessageSite = NO_SITE


def classify(message: EmailMessage, mailer_category: str | None = None) -> Classification:
    """Return category and site of ``message``, each from the first source that has one.

    If any source says ``security``, the category is ``security``. Call this on the stack of the
    code that sends the message, since the call site is one of the sources.

    Raises:
        ValueError: the message or the mailer names an invalid category or site.
    """
    call_sites, page = _call_sites()
    named = (
        getattr(message, message_site.ATTRIBUTE, None),
        context_site.get(),
        page,
        current_request.get(),
    )
    is_named = any(each is not None for each in named)
    site = message_site.find(*named) if is_named else NO_SITE
    found = [
        *((slug, "message") for slug in _marks(message)),
        *((slug, "context") for slug in context_categories()),
        *([(validate_category(mailer_category), "mailer")] if mailer_category else []),
        *((slug, "call site") for slug in call_sites),
    ]
    for slug, source in found:
        if slug == SECURITY:
            return Classification(slug, source, site)
    return Classification(*found[0], site) if found else Classification(OTHER, "default", site)


def _marks(message: EmailMessage) -> list[str]:
    marks = [getattr(message, ATTRIBUTE, None)]
    marks += [
        str(value).strip()
        for name, value in message.extra_headers.items()
        if name.strip().lower() == HEADER.lower()
    ]
    return [validate_category(mark) for mark in marks if mark is not None]


def _call_sites() -> tuple[list[str], Any]:
    """The categories of the call sites on the stack, innermost first, and the page of a message."""
    sites = dict(CALL_SITES)
    for site, slug in conf.CATEGORY_RULES.items():
        module, _separator, name = site.partition(":")
        sites[module, name] = slug
    found: list[str] = []
    page = None
    frame = sys._getframe(1)
    for _ in range(_FRAMES):
        key = (frame.f_globals.get("__name__", ""), frame.f_code.co_qualname)
        category = sites.get(key)
        if category is not None:
            found.append(category)
        if page is None and (variable := message_site.PAGES.get(key)):
            page = message_site.page_of(frame, variable)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found, page


def exists(site: Site) -> bool:
    """Whether a function with this name exists."""
    module, name = site
    try:
        found: Any = import_module(module)
    except Exception:  # the module can't be imported, so nothing in it can run
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    # An inherited method runs under the name of the class that defines it.
    found = getattr(found, "__wrapped__", found)
    return (getattr(found, "__module__", ""), getattr(found, "__qualname__", "")) == site


def missing_sites() -> Iterator[tuple[Package, list[Site]]]:
    """Installed packages that no longer have all of their call sites, with the missing ones."""
    for package in PACKAGES:
        if all(map(apps.is_installed, package.apps)):
            missing = [site for site in package.sites if not exists(site)]
            if missing:
                yield package, missing


#: The source of a redirect that the project's settings or the environment force.
FORCED = "settings"

#: Standard delivery as a candidate. It has no key, no limit and no sender of its own.
STANDARD_DELIVERY = SettingsSetConfig(key="", name=standard.NAME, transport="standard")


@dataclass(frozen=True, slots=True)
class Redirect:
    """The addresses that receive a message instead of its recipients, and the source.

    ``source`` is the name of a set, or :data:`FORCED`.
    """

    addresses: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates for a message in order, and why.

    ``site`` is the primary key of the message's site. The candidates have its senders.

    ``why`` is ``"method"``, ``"standard category"``, ``"copy"`` (the live version comes from
    another environment), ``"no set applies"``, ``"first set that applies"``, or empty if nothing
    was decided.
    """

    category: str
    candidates: tuple[SettingsSetConfig, ...]
    why: str
    redirect: Redirect | None = None
    site: int = OTHER_SITE

    def is_overflow(self, candidate: SettingsSetConfig) -> bool:
        """Whether a candidate is only used once all sets above it have reached their limits."""
        is_first = candidate is self.candidates[0]
        return not (is_first or candidate.backup or candidate is STANDARD_DELIVERY)


def route(
    configuration: Configuration, category: str, held_from: str = "", site: int = OTHER_SITE
) -> Route:
    """Decide redirect and candidates for email of ``category``.

    Args:
        site: the primary key of the message's site.
        held_from: the environment that the live version comes from, if it is another one.

    Raises:
        EnvironmentMismatch: nothing is sent, because of ``held_from``; in the site's language.
        RedirectError: a redirect is on but has no valid address.
    """
    if held_from and environments.holds(held_from, category):
        # Even if the version's own redirect has no valid address: a retry is safe after a reload.
        with project.in_site_language():
            raise EnvironmentMismatch(environments.held_text(held_from))
    redirect = redirect_for(configuration, category, site)
    if held_from and environments.is_holding(held_from):
        return Route(category, (STANDARD_DELIVERY,), "copy", redirect, site)
    if configuration.method == "standard":
        return Route(category, (STANDARD_DELIVERY,), "method", redirect, site)
    if category in conf.STANDARD_CATEGORIES:
        return Route(category, (STANDARD_DELIVERY,), "standard category", redirect, site)
    sets = tuple(item.for_site(site) for item in configuration.carriers(category, site))
    if not sets:
        return Route(category, (STANDARD_DELIVERY,), "no set applies", redirect, site)
    # An alert reports failing servers, so it may use standard delivery when other email may not.
    if conf.FALLBACK_TO_STANDARD or category == ALERT:
        sets = (*sets, STANDARD_DELIVERY)
    return Route(category, sets, "first set that applies", redirect, site)


def redirect_for(
    configuration: Configuration, category: str, site: int = OTHER_SITE
) -> Redirect | None:
    """Return the redirect for email of ``category`` and ``site``, or None.

    It is decided once per message, before the candidates, and applies to all of them.

    Raises:
        RedirectError: a redirect is on but has no valid address.
    """
    forced = conf.forced_redirect()
    if forced is not None:
        return _usable(forced, FORCED)
    item = configuration.redirecting_set(category, site)
    return None if item is None else _usable(item.report_addresses, item.name)


def _usable(addresses: tuple[str, ...], source: str) -> Redirect:
    valid = tuple(dict.fromkeys(with_current_domains(a) for a in addresses if is_email_address(a)))
    if not valid:
        raise RedirectError(
            f"All email is redirected by {source}, which has no valid report email. "
            "Nothing was sent. Add a report email or end the redirect."
        )
    return Redirect(valid, source)
