"""System checks for configuration errors that can be found when the project starts."""

import functools
import os
import re
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

from wagtail_smtp.alerts.kinds import OPTIONAL
from wagtail_smtp.categories import validate_category
from wagtail_smtp.channels import chat, services
from wagtail_smtp.conf import DEFAULTS, ENVIRONMENT_VARIABLE, conf
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.config_files import sets_file
from wagtail_smtp.config_files.document import FileRefused
from wagtail_smtp.config_files.drift import drift
from wagtail_smtp.config_files.file import load
from wagtail_smtp.delivery.routing import missing_sites
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.resolve import (
    draft_configuration,
    live_version,
    reference_problem,
    version_configuration,
)
from wagtail_smtp.models import LogEntry, Secret
from wagtail_smtp.transports import imap, standard

BACKEND = "wagtail_smtp.backend.EmailBackend"
MIDDLEWARE = "wagtail_smtp.middleware.EmailSiteMiddleware"
_LOCMEM = "django.core.mail.backends.locmem.EmailBackend"


def check_keys(**kwargs: Any) -> list[CheckMessage]:
    """Check that WAGTAIL_SMTP is a dictionary with known keys and valid values."""
    given = getattr(settings, "WAGTAIL_SMTP", {})
    if not isinstance(given, Mapping):
        return [Error("WAGTAIL_SMTP must be a dictionary.", id="wagtail_smtp.E001")]
    found: list[CheckMessage] = [
        Error(
            f"WAGTAIL_SMTP has the unknown key {key!r}.",
            hint=f"Known keys: {', '.join(sorted(DEFAULTS))}.",
            id="wagtail_smtp.E002",
        )
        for key in given
        if key not in DEFAULTS
    ]
    for key in DEFAULTS:
        try:
            if key not in _CHECKED_ELSEWHERE:
                _validate(key)
        except (ImproperlyConfigured, ValueError, TypeError, AttributeError) as error:
            named = isinstance(error, ImproperlyConfigured)
            found.append(
                Error(
                    str(error) if named else f"WAGTAIL_SMTP[{key!r}] can't be used: {error}",
                    hint=f"Correct the value: {conf.documentation('reference/settings.html')}",
                    id="wagtail_smtp.E003",
                )
            )
    return found


#: Keys with checks of their own.
_CHECKED_ELSEWHERE = ("STANDARD", "ENCRYPTION_KEYS", "REDIRECT_ALL_TO")


def _validate(key: str) -> None:
    value = getattr(conf, key)
    if key in ("CATEGORIES", "STANDARD_CATEGORIES", "RETRY_CATEGORIES"):
        for slug in value:
            validate_category(slug)
    if key == "ALERTS_OFF" and (unknown := set(value) - OPTIONAL):
        known = ", ".join(sorted(OPTIONAL))
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}. Kinds of alerts: {known}")
    if key == "CATEGORY_RULES":
        for function, slug in value.items():
            validate_category(slug)
            if function.count(":") != 1:
                raise ValueError(f"{function!r} must have the form 'module:Class.method'")


def check_encryption_keys(**kwargs: Any) -> list[CheckMessage]:
    """Check that ENCRYPTION_KEYS contains Fernet keys."""
    keys = conf.given().get("ENCRYPTION_KEYS", ())
    if isinstance(keys, str) or not isinstance(keys, list | tuple):
        return [_bad_key("it must be a list of keys")]
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except (ValueError, TypeError):
            return [_bad_key(f"entry {position} is not a Fernet key")]
    return []


def check_own_keys(**kwargs: Any) -> list[CheckMessage]:
    """Check that saved passwords have their own keys. This matters in production only."""
    if conf.given().get("ENCRYPTION_KEYS", ()):
        return []
    return [
        Warning(
            "Saved passwords are encrypted with a key derived from SECRET_KEY.",
            hint="Set WAGTAIL_SMTP['ENCRYPTION_KEYS'] to a list with a key from "
            "'cryptography.fernet.Fernet.generate_key()', then run smtp_rotate_keys. Otherwise "
            "saved passwords become unreadable when SECRET_KEY changes.",
            id="wagtail_smtp.W001",
        )
    ]


def _bad_key(why: str) -> CheckMessage:
    return Error(
        f"WAGTAIL_SMTP['ENCRYPTION_KEYS'] can't be used: {why}.",
        hint="Create a key with 'cryptography.fernet.Fernet.generate_key()'.",
        id="wagtail_smtp.E004",
    )


def check_app_order(**kwargs: Any) -> list[CheckMessage]:
    """Check that the app comes before wagtail.admin, whose templates it extends."""
    names = [config.name for config in apps.get_app_configs()]
    if "wagtail.admin" not in names:
        return []
    if names.index("wagtail_smtp") < names.index("wagtail.admin"):
        return []
    return [
        Warning(
            "'wagtail_smtp' must come before 'wagtail.admin' in INSTALLED_APPS. Otherwise the "
            "admin can't show a warning while email is redirected.",
            hint="Move 'wagtail_smtp' before 'wagtail.admin'.",
            id="wagtail_smtp.W005",
        )
    ]


def check_standard(**kwargs: Any) -> list[CheckMessage]:
    """Check that standard delivery exists, is configured, and isn't the plugin itself."""
    try:
        standard.build_backend()
    except Exception as error:  # a project's own backend can raise anything
        return [
            Error(
                f"Standard delivery can't be used: {error}",
                hint="Set WAGTAIL_SMTP['STANDARD'] = {'BACKEND': path, 'OPTIONS': {…}} to the "
                "backend that the site used before.",
                id="wagtail_smtp.E006",
            )
        ]
    server = standard.server()
    if server is None or server.is_configured:
        return []
    return [
        Warning(
            "Standard delivery is not configured, so password resets can't be sent.",
            hint="Set EMAIL_HOST and the other EMAIL_* settings, or WAGTAIL_SMTP['STANDARD'].",
            id="wagtail_smtp.W002",
        )
    ]


def check_backends(**kwargs: Any) -> list[CheckMessage]:
    """Check that the project's email goes through the plugin; an error if a redirect is forced."""
    forced = conf.forced_redirect() is not None
    return [
        (Error if forced else Warning)(
            f"{where} bypasses wagtail-smtp: {path}."
            + (" The forced redirect doesn't apply to it." if forced else ""),
            hint=f"Set it to {BACKEND!r}.",
            id="wagtail_smtp.E007" if forced else "wagtail_smtp.W003",
        )
        for where, path in _backends()
        # Test runners replace every backend with locmem.
        if path != _LOCMEM and not _is_ours(path)
    ]


def _backends() -> Iterator[tuple[str, str]]:
    if standard.uses_mailers():
        for alias, mailer in settings.MAILERS.items():
            default = "django.core.mail.backends.smtp.EmailBackend"
            yield f"MAILERS[{alias!r}]", mailer.get("BACKEND", default)
    else:
        with warnings.catch_warnings():
            # Reading it warns in Django 6.1, which also warns separately if the project sets it.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            path = settings.EMAIL_BACKEND
        yield "EMAIL_BACKEND", path


def _is_ours(path: str) -> bool:
    try:
        return bool(getattr(import_string(path), "is_wagtail_smtp", False))
    except ImportError:
        return False


def check_forced_redirect(**kwargs: Any) -> list[CheckMessage]:
    """Check that a forced redirect has valid addresses."""
    forced = conf.forced_redirect()
    if forced is None:
        return []
    invalid = [address for address in forced if not is_email_address(address)]
    if forced and not invalid:
        return []
    what = f"has invalid addresses: {', '.join(invalid)}" if invalid else "has no address"
    return [
        Error(
            f"The forced redirect {what}.",
            hint="Correct WAGTAIL_SMTP['REDIRECT_ALL_TO'] or WAGTAIL_SMTP_REDIRECT_ALL_TO. "
            "Without a valid address, no email is sent.",
            id="wagtail_smtp.E008",
        )
    ]


def check_environment(**kwargs: Any) -> list[CheckMessage]:
    """Check the name of the environment in the variable; :func:`check_keys` checks the setting."""
    if ENVIRONMENT_VARIABLE not in os.environ:
        return []
    try:
        conf.environment()
    except ImproperlyConfigured as error:
        hint = (
            f"Correct or remove the variable {ENVIRONMENT_VARIABLE}. Until then, no email is sent."
        )
        return [Error(str(error), hint=hint, id="wagtail_smtp.E020")]
    return []


def check_alert_channels(**kwargs: Any) -> list[CheckMessage]:
    """Check that alerts can be sent to the channels. No part of a URL but its scheme is shown."""
    try:
        urls = conf.alert_urls()
    except ImproperlyConfigured:
        return []  # check_keys reports it
    found: list[CheckMessage] = [
        _bad_channel(position, url, "it is not a service that alerts can be sent to")
        for position, url in enumerate(urls, start=1)
        if services.service_of(url) is None
    ]
    if urls and not chat.is_installed():
        found.append(
            Warning(
                "Alerts only reach ADMINS, because the package for other channels is missing.",
                hint=f"Run: {chat.INSTALL}",
                id="wagtail_smtp.W023",
            )
        )
    return found


def check_alert_urls(**kwargs: Any) -> list[CheckMessage]:
    """Check that the channels' URLs are complete. Importing Apprise takes a moment."""
    found: list[CheckMessage] = []
    try:
        urls = conf.alert_urls() if chat.is_installed() else ()
    except ImproperlyConfigured:
        return found  # check_keys reports it
    for position, url in enumerate(urls, start=1):
        if services.service_of(url) is None:
            continue  # check_alert_channels reports it
        try:
            chat.load(url)
        except chat.InvalidURL as error:
            found.append(_bad_channel(position, url, str(error)))
    return found


def _bad_channel(position: int, url: str, why: str) -> CheckMessage:
    scheme = services.scheme(url)
    kind = f" ({scheme}://)" if scheme else ""
    return Warning(
        f"Channel {position}{kind} of {conf.source('ALERTS')} can't be used: {why}.",
        hint=f"Correct its URL: {conf.documentation('how-to/alerts.html')}",
        id="wagtail_smtp.W022",
    )


def check_environment_name(**kwargs: Any) -> list[CheckMessage]:
    """Check that this environment has a name, so that a copy of its database sends nothing."""
    try:
        if conf.environment():
            return []
    except ImproperlyConfigured:
        return []  # another check reports it
    return [
        Warning(
            "The environment has no name, so a copy of its database would send email to real "
            "people.",
            hint="Set WAGTAIL_SMTP_ENVIRONMENT or WAGTAIL_SMTP['ENVIRONMENT'], for example to "
            "'production', for all processes: "
            + conf.documentation("how-to/copy-production-to-staging.html"),
            id="wagtail_smtp.W021",
        )
    ]


def check_report_urls(**kwargs: Any) -> list[CheckMessage]:
    """Check that email providers can report deliveries, if they may be in use."""
    if find_spec("anymail") is None:
        return []
    try:
        reverse("wagtail_smtp:webhook", args=[uuid.UUID(int=0), "provider"])
    except NoReverseMatch:
        return [
            Info(
                "Email providers can't report deliveries, so delivery tracking is off.",
                hint="Add path('email/webhooks/', include('wagtail_smtp.urls')) to the project's "
                "URLs, outside the admin. Silence this if the site uses no email provider's API.",
                id="wagtail_smtp.I001",
            )
        ]
    return []


def check_site_middleware(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that email of a request has a site, if sets use sites and this may query them."""
    if db_connections.write_alias() not in (databases or ()) or _has_site_middleware():
        return []
    try:
        if not db_connections.is_migrated():
            return []
        used = (version_configuration(live_version()), draft_configuration())
    except (DatabaseFault, ValueError):
        return []  # other checks and the reload page report it
    if not any(configuration.uses_sites for configuration in used):
        return []
    return [
        Warning(
            "Settings sets are limited to sites or have senders for them, but the site of a "
            "request isn't known, so its email counts as the default site's.",
            hint=f"Add '{MIDDLEWARE}' to MIDDLEWARE: "
            + conf.documentation("how-to/several-sites.html"),
            id="wagtail_smtp.W030",
        )
    ]


def _has_site_middleware() -> bool:
    for path in settings.MIDDLEWARE:
        try:
            found = import_string(path)
        except ImportError:
            continue
        if getattr(found, "finds_email_site", False):
            return True
    return False


def check_call_sites(**kwargs: Any) -> list[CheckMessage]:
    """Check that code which sends one-time codes and login links still has the names we know."""
    return [
        Warning(
            f"Login codes and links of {package.name} may be shown and resent in the admin: this "
            "release of wagtail-smtp doesn't know the code that sends them.",
            hint="Missing: "
            + ", ".join(":".join(site) for site in sites)
            + ". Add the code that sends them now to WAGTAIL_SMTP['CATEGORY_RULES'] with the "
            "category 'security', then silence this warning.",
            obj=package.name,
            id="wagtail_smtp.W015",
        )
        for package, sites in missing_sites()
    ]


def _if_readable(check: Callable[..., list[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    """Skip the check if WAGTAIL_SMTP can't be read, which :func:`check_keys` reports."""

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
    _if_readable(check_environment),
    _if_readable(check_alert_channels),
    check_report_urls,
    check_call_sites,
)
#: Packet size in bytes that fits a piece of a stored message with room to spare.
_PACKET = 1024 * 1024


def check_transactions(**kwargs: Any) -> list[CheckMessage]:
    """Check that SQLite's transactions wait for each other before they read."""
    connection = connections[db_connections.write_alias()]
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
    if connection.vendor != "sqlite" or mode.upper() != "DEFERRED":
        return []
    return [
        Warning(
            "Requests that send email may fail with 'database is locked'.",
            hint="Set 'transaction_mode': 'IMMEDIATE' in the OPTIONS of the database. In SQLite, a "
            "transaction that reads before it writes can't wait for another writer.",
            id="wagtail_smtp.W011",
        )
    ]


def check_journal(**kwargs: Any) -> list[CheckMessage]:
    """Check that SQLite doesn't wait for the disk at each log entry, nor readers for writers."""
    connection = connections[db_connections.write_alias()]
    command = str(connection.settings_dict["OPTIONS"].get("init_command") or "")
    command = command.lower().replace(" ", "")
    is_set = "journal_mode=wal" in command and re.search("synchronous=(normal|1)", command)
    if connection.vendor != "sqlite" or is_set:
        return []
    return [
        Warning(
            "Sending email is slow, because SQLite waits for the disk at each log entry.",
            hint="Set 'init_command': 'PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL' in the "
            "OPTIONS of the database. Silence this if it is set in another way.",
            id="wagtail_smtp.W016",
        )
    ]


def check_routing(**kwargs: Any) -> list[CheckMessage]:
    """Check that the plugin's tables are in the same database as the users, to join them."""
    models = [*apps.get_app_config("wagtail_smtp").get_models(), get_user_model()]
    aliases = sorted({router.db_for_write(model) for model in models})
    if len(aliases) == 1:
        return []
    return [
        Error(
            "The tables of wagtail-smtp and of the users must be in one database, but are in: "
            f"{', '.join(aliases)}.",
            hint="Change the project's database routers so that all models of 'wagtail_smtp' use "
            "the users' database.",
            id="wagtail_smtp.E014",
        )
    ]


def check_database(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the database can store what the log writes, if this check may query it."""
    alias = db_connections.write_alias()
    if alias not in (databases or ()):
        return []
    check = {"mysql": _mysql, "postgresql": _postgresql}.get(connections[alias].vendor)
    return check(alias) if check else []


def check_migrations(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the plugin's tables are up to date, if this check may query the database."""
    if db_connections.write_alias() not in (databases or ()):
        return []
    try:
        if db_connections.is_migrated():
            return []
    except DatabaseFault as error:
        what, hint = f"The database can't be used: {error}", "Correct DATABASES."
    else:
        what = "The database tables of wagtail-smtp are missing or out of date."
        hint = "Run 'manage.py migrate' before you start the new code."
    # An error would prevent 'migrate' from running.
    return [Warning(what, hint=hint, id="wagtail_smtp.W014")]


def check_references(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the variables and files that sets read their secrets from are there.

    It queries the database only if it may.
    """
    if db_connections.write_alias() not in (databases or ()):
        return []
    try:
        if not db_connections.is_migrated():
            return []
        version = live_version()
        # A copied database sends nothing, so nothing is missing yet.
        is_held = version is not None and bool(environments.origin(version.environment))
        missing = [] if is_held else _unreadable(version_configuration(version).sets)
        waiting = [text for text in _unreadable(draft_configuration().sets) if text not in missing]
    except (DatabaseFault, ImproperlyConfigured, ValueError):
        return []  # other checks and the reload page report it
    hint = "The check only sees its own process. Run it where the site's processes run."
    return [
        *(Error(text, hint=hint, id="wagtail_smtp.E015") for text in missing),
        *(Warning(text, hint=hint, id="wagtail_smtp.W018") for text in waiting),
    ]


def _unreadable(items: Sequence[SettingsSetConfig]) -> list[str]:
    secrets = Secret.objects.in_bulk([item.secret for item in items if item.secret])
    found = (reference_problem(item, secrets.get(item.secret or 0)) for item in items)
    return list(filter(None, found))


def check_bounces(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the packages are installed that read mailboxes, if this may query the database."""
    if imap.is_installed() or db_connections.write_alias() not in (databases or ()):
        return []
    try:
        version = live_version() if db_connections.is_migrated() else None
        items = version_configuration(version).sets
    except (DatabaseFault, ValueError):
        return []  # other checks and the reload page report it
    return [
        Warning(
            f"The bounces of “{item.name}” can't be read, because a package is missing.",
            hint=f"Run: {imap.INSTALL}",
            id="wagtail_smtp.W026",
        )
        for item in items
        if item.mailbox_host
    ]


def check_sets_file(**kwargs: Any) -> list[CheckMessage]:
    """Check that the project's settings file can be imported."""
    file = sets_file.path()
    if file is None:
        return []
    try:
        load(file)
    except FileRefused as error:
        return [
            Warning(
                f"The settings file can't be imported:\n{error}",
                hint="Correct the file, or WAGTAIL_SMTP['SETS_FILE'].",
                id="wagtail_smtp.W019",
            )
        ]
    return []


def check_drift(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the saved sets are those of the project's file, if this may query the database."""
    if db_connections.write_alias() not in (databases or ()) or sets_file.path() is None:
        return []
    try:
        found = drift() if db_connections.is_migrated() else None
    except DatabaseFault:
        return []  # check_migrations reports it
    if found is None or not found.changes:
        return []
    return [
        Warning(
            f"The saved email settings differ from {found.source}: "
            + "; ".join(change.summary for change in found.changes),
            hint="Run 'manage.py smtp_import --dry-run' to see the differences, and "
            "'manage.py smtp_import' to make the settings those of the file.",
            id="wagtail_smtp.W020",
        )
    ]


def _postgresql(alias: str) -> list[CheckMessage]:
    [encoding] = _query(alias, "SHOW server_encoding")
    return [] if encoding == "UTF8" else [_encoding_warning(encoding)]


def _mysql(alias: str) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    charset = _query(
        alias,
        "SELECT character_set_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = %s AND column_name = 'subject'",
        [LogEntry._meta.db_table],
    )
    # The table is missing before the first migration.
    if charset and charset[0] != "utf8mb4":
        found.append(_encoding_warning(charset[0]))
    [packet] = _query(alias, "SELECT @@GLOBAL.max_allowed_packet")
    if packet < _PACKET:
        found.append(
            Warning(
                f"The database accepts at most {packet // 1024} KB in one query, so larger "
                "messages can't be queued or kept.",
                hint="Set max_allowed_packet to 1M or more in the database's configuration.",
                id="wagtail_smtp.W013",
            )
        )
    return found


def _encoding_warning(charset: str) -> Warning:
    return Warning(
        f"The delivery log can't store every character, because its database uses {charset}.",
        hint="Convert the tables to utf8mb4 (PostgreSQL: create the database with the encoding "
        "UTF8). Until then, unsupported characters are replaced in the log.",
        id="wagtail_smtp.W012",
    )


def _query(alias: str, query: str, values: Sequence[Any] = ()) -> Any:
    """The first row of a query; empty if there is none."""
    with connections[alias].cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchone() or ()


def register_all() -> None:
    """Register all checks."""
    for check in (*ALL, check_routing):
        register(check, "wagtail_smtp")
    for check in (
        _if_readable(check_own_keys),
        _if_readable(check_environment_name),
        _if_readable(check_alert_urls),
        check_transactions,
        check_journal,
        _if_readable(check_sets_file),
    ):
        register(check, "wagtail_smtp", deploy=True)
    register(check_database, Tags.database)
    register(check_migrations, Tags.database, deploy=True)
    register(check_references, Tags.database, deploy=True)
    register(check_site_middleware, Tags.database, deploy=True)
    register(check_bounces, Tags.database, deploy=True)
    register(_if_readable(check_drift), Tags.database, deploy=True)
