"""System checks for every misconfiguration that can be seen when the project starts."""

import functools
import ipaddress
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFault
from django.db import connections, router
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from wagtail_smtp.categories import validate_category
from wagtail_smtp.conf import DEFAULTS, NUMBERS, conf
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.delivery import call_sites
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db import schema
from wagtail_smtp.models import LogEntry
from wagtail_smtp.transports import standard

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


#: Octets of a packet of MySQL or MariaDB that hold most messages: its default is 16 MB, or 64.
_PACKET = 64 * 1024 * 1024


def check_transactions(**kwargs: Any) -> list[CheckMessage]:
    """SQLite's transactions wait for each other before they read."""
    connection = connections[db_connections.write_alias()]
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
    if connection.vendor != "sqlite" or mode.upper() != "DEFERRED":
        return []
    return [
        Warning(
            "A request that sends email may fail with 'database is locked'.",
            hint="Set 'transaction_mode': 'IMMEDIATE' in the OPTIONS of the database. In SQLite, a "
            "transaction that has read before it writes can't wait for another that is writing.",
            id="wagtail_smtp.W011",
        )
    ]


def check_routing(**kwargs: Any) -> list[CheckMessage]:
    """Routers send the plugin's tables and the users' to one database, which joins them."""
    models = [*apps.get_app_config("wagtail_smtp").get_models(), get_user_model()]
    aliases = sorted({router.db_for_write(model) for model in models})
    if len(aliases) == 1:
        return []
    return [
        Error(
            "The tables of wagtail-smtp and those of the users are in several databases: "
            f"{', '.join(aliases)}.",
            hint="Let the project's database routers send all models of the app 'wagtail_smtp' to "
            "the database of the users, which they refer to.",
            id="wagtail_smtp.E014",
        )
    ]


def check_database(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The database can hold what the log writes; asked only if the check may use it."""
    alias = db_connections.write_alias()
    if alias not in (databases or ()):
        return []
    check = {"mysql": _mysql, "postgresql": _postgresql}.get(connections[alias].vendor)
    return check(alias) if check else []


def check_migrations(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The plugin's tables are as this code expects; asked of a database only where it may be."""
    if db_connections.write_alias() not in (databases or ()):
        return []
    try:
        if schema.is_migrated():
            return []
    except DatabaseFault as error:
        what, hint = f"The database can't be used: {error}", "Correct DATABASES."
    else:
        what = "The database tables of wagtail-smtp are missing or out of date."
        hint = "Run 'manage.py migrate' before the new code is started."
    # A warning: an error would keep 'migrate' itself from running.
    return [Warning(what, hint=hint, id="wagtail_smtp.W014")]


def _postgresql(alias: str) -> list[CheckMessage]:
    [encoding] = _asked(alias, "SHOW server_encoding")
    return [] if encoding == "UTF8" else [_characters(encoding)]


def _mysql(alias: str) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    charset = _asked(
        alias,
        "SELECT character_set_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = %s AND column_name = 'subject'",
        [LogEntry._meta.db_table],
    )
    # Before the first migration there is no table.
    if charset and charset[0] != "utf8mb4":
        found.append(_characters(charset[0]))
    [packet] = _asked(alias, "SELECT @@GLOBAL.max_allowed_packet")
    if packet < _PACKET:
        found.append(
            Warning(
                f"The database accepts at most {packet // 1024 // 1024} MB at once, so larger "
                "messages can't be queued or kept.",
                hint="Set max_allowed_packet to 64M or more in the configuration of its server.",
                id="wagtail_smtp.W013",
            )
        )
    return found


def _characters(charset: str) -> Warning:
    return Warning(
        f"The delivery log can't hold every character: its database uses {charset}.",
        hint="Convert the tables to utf8mb4 (PostgreSQL: create the database with the encoding "
        "UTF8). Until then, characters it can't hold are replaced in the log.",
        id="wagtail_smtp.W012",
    )


def _asked(alias: str, query: str, values: Collection[Any] = ()) -> Any:
    """The first row of a query; empty: there is none."""
    with connections[alias].cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchone() or ()


def register_all() -> None:
    """Register the checks; what matters only in production, for ``check --deploy``."""
    register(check_routing, "wagtail_smtp")
    register(check_transactions, "wagtail_smtp", deploy=True)
    register(check_database, Tags.database)
    register(check_migrations, Tags.database, deploy=True)
