"""System checks of the database that the delivery log is written to."""

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseFault
from django.db import connections, router

from wagtail_smtp.live import database, schema
from wagtail_smtp.models import LogEntry

#: Octets of a packet of MySQL or MariaDB that hold most messages: its default is 16 MB, or 64.
_PACKET = 64 * 1024 * 1024


def check_transactions(**kwargs: Any) -> list[CheckMessage]:
    """SQLite's transactions wait for each other before they read."""
    connection = connections[database.write_alias()]
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
    alias = database.write_alias()
    if alias not in (databases or ()):
        return []
    check = {"mysql": _mysql, "postgresql": _postgresql}.get(connections[alias].vendor)
    return check(alias) if check else []


def check_migrations(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The plugin's tables are as this code expects; asked of a database only where it may be."""
    if database.write_alias() not in (databases or ()):
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
