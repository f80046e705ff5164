"""System checks for every misconfiguration that can be seen when the project starts."""

import functools
import ipaddress
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from wagtail_smtp.categories import validate_category
from wagtail_smtp.conf import DEFAULTS, NUMBERS, conf
from wagtail_smtp.delivery import call_sites
from wagtail_smtp.transports import standard
from wagtail_smtp.validation import is_email_address

BACKEND = "wagtail_smtp.backend.EmailBackend"
_LOCMEM = "django.core.mail.backends.locmem.EmailBackend"


def check_keys(**kwargs: Any) -> list[CheckMessage]:
    """WAGTAIL_SMTP is a dictionary with known keys and usable values."""
    given = getattr(settings, "WAGTAIL_SMTP", {})
    if not isinstance(given, Mapping):
        return [Error("WAGTAIL_SMTP is no dictionary.", id="wagtail_smtp.E001")]
    found: list[CheckMessage] = [
        Error(
            f"WAGTAIL_SMTP has the unknown key {key!r}.",
            hint=f"Known keys: {', '.join(sorted(DEFAULTS))}.",
            id="wagtail_smtp.E002",
        )
        for key in given
        if key not in DEFAULTS
    ]
    for key, validate in _VALUES.items():
        try:
            validate()
        except (ImproperlyConfigured, ValueError, TypeError, AttributeError) as error:
            found.append(
                Error(
                    f"WAGTAIL_SMTP[{key!r}] can't be used: {error}",
                    hint="Correct the value; docs/settings.md describes each key.",
                    id="wagtail_smtp.E003",
                )
            )
    return found


def _validate_categories() -> None:
    for slug in (*conf.CATEGORIES, *conf.STANDARD_CATEGORIES, *conf.CATEGORY_RULES.values()):
        validate_category(slug)
    for site in conf.CATEGORY_RULES:
        if site.count(":") != 1:
            raise ValueError(f"{site!r} must look like 'module:Class.method'")


def _validate_networks() -> None:
    for network in conf.given().get("ALLOWED_NETWORKS", ()):
        ipaddress.ip_network(network)


_VALUES: dict[str, Callable[[], object]] = {
    "CATEGORIES": _validate_categories,
    "ALLOWED_NETWORKS": _validate_networks,
    "DELIVERY": lambda: conf.DELIVERY,
    "STORE_MESSAGES": lambda: conf.STORE_MESSAGES,
    **{key: functools.partial(conf.number, key) for key in NUMBERS},
}


def check_encryption_keys(**kwargs: Any) -> list[CheckMessage]:
    """The keys that stored passwords are encrypted with are Fernet keys."""
    keys = conf.given().get("ENCRYPTION_KEYS", ())
    if isinstance(keys, str) or not isinstance(keys, list | tuple):
        return [_bad_key("it must be a list of keys")]
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except (ValueError, TypeError):
            return [_bad_key(f"entry {position} is no Fernet key")]
    return []


def check_own_keys(**kwargs: Any) -> list[CheckMessage]:
    """Stored passwords have keys of their own, which matters in production only."""
    if conf.given().get("ENCRYPTION_KEYS", ()):
        return []
    return [
        Warning(
            "Stored passwords are encrypted with a key derived from SECRET_KEY.",
            hint="Set WAGTAIL_SMTP['ENCRYPTION_KEYS'] to a list with a key from "
            "'cryptography.fernet.Fernet.generate_key()', then run smtp_rotate_keys. Changing "
            "SECRET_KEY would otherwise make stored passwords unreadable.",
            id="wagtail_smtp.W001",
        )
    ]


def _bad_key(why: str) -> CheckMessage:
    return Error(
        f"WAGTAIL_SMTP['ENCRYPTION_KEYS'] can't be used: {why}.",
        hint="Make a key with 'cryptography.fernet.Fernet.generate_key()'.",
        id="wagtail_smtp.E004",
    )


def check_app_order(**kwargs: Any) -> list[CheckMessage]:
    """The app stands above wagtail.admin, whose templates it extends."""
    names = [config.name for config in apps.get_app_configs()]
    if "wagtail.admin" not in names:
        return []
    if names.index("wagtail_smtp") < names.index("wagtail.admin"):
        return []
    return [
        Warning(
            "'wagtail_smtp' stands below 'wagtail.admin' in INSTALLED_APPS, so the admin's pages "
            "don't tell of a redirect.",
            hint="Move 'wagtail_smtp' above 'wagtail.admin'.",
            id="wagtail_smtp.W005",
        )
    ]


def check_standard(**kwargs: Any) -> list[CheckMessage]:
    """Standard delivery is there, isn't the plugin itself, and somebody configured it."""
    try:
        standard.build_backend()
    except Exception as error:  # whatever a project's own backend raises
        return [
            Error(
                f"Standard delivery can't be used: {error}",
                hint="Set WAGTAIL_SMTP['STANDARD'] = {'BACKEND': path, 'OPTIONS': {…}} to the "
                "backend that sent the site's email before.",
                id="wagtail_smtp.E006",
            )
        ]
    server = standard.server()
    if server is None or server.is_configured:
        return []
    return [
        Warning(
            "Standard delivery is not configured, so password resets can't leave.",
            hint="Set EMAIL_HOST and its kin, or WAGTAIL_SMTP['STANDARD'].",
            id="wagtail_smtp.W002",
        )
    ]


def check_backends(**kwargs: Any) -> list[CheckMessage]:
    """The project's mail goes through the plugin, all of it where a redirect is forced."""
    forced = conf.forced_redirect() is not None
    return [
        (Error if forced else Warning)(
            f"{where} sends past wagtail-smtp: {path}."
            + (" The forced redirect doesn't hold for it." if forced else ""),
            hint=f"Set it to {BACKEND!r}.",
            id="wagtail_smtp.E007" if forced else "wagtail_smtp.W003",
        )
        for where, path in _backends()
        # Test runners put locmem in the place of every backend.
        if path != _LOCMEM and not _is_ours(path)
    ]


def _backends() -> Iterator[tuple[str, str]]:
    if standard.uses_mailers():
        for alias, mailer in settings.MAILERS.items():
            default = "django.core.mail.backends.smtp.EmailBackend"
            yield f"MAILERS[{alias!r}]", mailer.get("BACKEND", default)
    else:
        with warnings.catch_warnings():
            # Django 6.1 warns whoever reads it; that the project still sets it, it says itself.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            path = settings.EMAIL_BACKEND
        yield "EMAIL_BACKEND", path


def _is_ours(path: str) -> bool:
    try:
        return bool(getattr(import_string(path), "is_wagtail_smtp", False))
    except ImportError:
        return False


def check_forced_redirect(**kwargs: Any) -> list[CheckMessage]:
    """A forced redirect names valid addresses."""
    forced = conf.forced_redirect()
    if forced is None:
        return []
    invalid = [address for address in forced if not is_email_address(address)]
    if forced and not invalid:
        return []
    what = f"has invalid addresses: {', '.join(invalid)}" if invalid else "names no address"
    return [
        Error(
            f"The forced redirect {what}.",
            hint="Correct WAGTAIL_SMTP['REDIRECT_ALL_TO'] or WAGTAIL_SMTP_REDIRECT_ALL_TO. "
            "Without a valid address no mail leaves.",
            id="wagtail_smtp.E008",
        )
    ]


def check_report_urls(**kwargs: Any) -> list[CheckMessage]:
    """Providers can report deliveries, where they may be in use."""
    if find_spec("anymail") is None:
        return []
    try:
        reverse("wagtail_smtp:reports", args=[uuid.UUID(int=0), "provider"])
    except NoReverseMatch:
        return [
            Info(
                "Providers can't report what became of messages.",
                hint="Add path('email/reports/', include('wagtail_smtp.urls')) to the project's "
                "URLs, outside the admin; or silence this if no provider is used.",
                id="wagtail_smtp.I001",
            )
        ]
    return []


def check_call_sites(**kwargs: Any) -> list[CheckMessage]:
    """What sends one-time codes and login links is known by its current name."""
    return [
        Warning(
            f"Codes and login links of {package.name} may be shown and resent in the admin: the "
            "code that sends them has other names than this release of wagtail-smtp knows.",
            hint="Missing: "
            + ", ".join(":".join(site) for site in sites)
            + ". Name the code that sends them now in WAGTAIL_SMTP['CATEGORY_RULES'] with the "
            "category 'security', then silence this warning.",
            obj=package.name,
            id="wagtail_smtp.W015",
        )
        for package, sites in call_sites.missing()
    ]


def _if_readable(check: Callable[..., list[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    """The check, silent where nothing can be read at all: then :func:`check_keys` says so."""

    @functools.wraps(check)
    def wrapped(**kwargs: Any) -> list[CheckMessage]:
        is_readable = isinstance(getattr(settings, "WAGTAIL_SMTP", {}), Mapping)
        return check(**kwargs) if is_readable else []

    return wrapped


ALL = (
    check_keys,
    _if_readable(check_encryption_keys),
    check_app_order,
    _if_readable(check_standard),
    _if_readable(check_backends),
    _if_readable(check_forced_redirect),
    check_report_urls,
    check_call_sites,
)
#: Run by ``check --deploy`` alone.
DEPLOY = (_if_readable(check_own_keys),)
